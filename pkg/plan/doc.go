// Package plan turns a spec into tasks, shards and jobs; pure and deterministic.
package plan
