"""From a decoder's answers to small students: lessons, losses, kinds of students."""
