"""Answers of models kept on disk by what was asked, so that nothing is computed twice."""
