"""From a decoder's answers to small students: the teacher store, losses, kinds of students."""
