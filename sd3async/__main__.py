"""`python -m sd3async`: the command line."""

from sd3async.cli import main

main()
