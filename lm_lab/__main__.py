from lm_lab.cli.main import main

main()
