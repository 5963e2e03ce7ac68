// Package result holds the shard result file: records, footer, atomic commit, verification.
package result
