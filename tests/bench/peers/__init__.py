"""Other ways to build the same chat, each as its own documentation shows it, for comparison."""
