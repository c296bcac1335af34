"""kilowit tells what a text summarizer costs, and which efficiency method is worth it."""
