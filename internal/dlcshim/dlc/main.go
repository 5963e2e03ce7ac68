// Command dlc is the stand-in of the client of PAI's DLC for tests: see package dlcshim.
package main

import "sextant/internal/dlcshim"

func main() { dlcshim.Main() }
