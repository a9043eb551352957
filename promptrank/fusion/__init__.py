"""A logistic layer over a decoder's log-odds and declared numbers."""
