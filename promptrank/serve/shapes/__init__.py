"""The shapes that a server speaks: a file of field names each, our own and those clients have."""
