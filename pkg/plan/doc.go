// Package plan turns a spec into tasks, shards and jobs. Survey looks at the data, models and tokenizers once and reports all that is
// wrong with them; Make is pure: the same spec and inputs give the same plan, byte for byte. A plan is a value that can be printed,
// saved, compared and executed.
package plan
