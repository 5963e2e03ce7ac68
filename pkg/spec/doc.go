// Package spec reads an evaluation's TOML: includes, overrides, the catalog, defaults, strict keys, every error at once.
//
// The way of a spec through the files of this package:
//
//	source.go    files in the order they are laid over each other (include)
//	index.go     where each key stands: line and column
//	node.go      the tree of values with positions, and what merging means
//	datasets.go  what `datasets` names, and the base of a [[dataset]]
//	sweep*.go    globs of checkpoints, and what [sweep] makes of models, recipes and datasets
//	decode.go    tree to Go values, strictly, by the tags in types.go
//	defaults.go  what is not written
//	validate*.go what a type cannot say
//
// A value keeps the position where it was written through all of it, so that an error about a merged table still points at the line
// to change. docs/spec.md is the reference of every key.
package spec
