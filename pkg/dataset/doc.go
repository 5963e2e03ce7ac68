// Package dataset turns a benchmark's files into what a model must do: rows are read, columns made, prompts rendered with their
// in-context examples, and texts cut into windows. It also holds the catalog of known datasets. The same files and the same
// dataset always give the same items, whoever asks and in whatever order. docs/datasets.md is the user's side of it.
package dataset
