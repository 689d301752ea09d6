"""The families of networks, written to be read: the definition faster engines are held to."""
