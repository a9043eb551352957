"""The verbs of promptrank as Python functions; the command line is a thin layer over them."""
