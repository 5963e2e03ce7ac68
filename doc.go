// Package sextant is the root of the module; it holds only tests of the house itself: that imports go down and that every package
// says what it is for. The commands are cmd/submit and cmd/worker; docs/architecture.md is the map.
package sextant
