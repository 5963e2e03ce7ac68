// Package spec reads an evaluation's TOML: includes, defaults, strict keys, every error at once.
package spec
