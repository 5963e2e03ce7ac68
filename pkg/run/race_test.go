//go:build race

package run

// raced says that the race detector is in, under which everything takes many times as long.
const raced = true
