// Package score turns records into scores with n, missing and standard error.
//
// Compute is pure: the same plan and records give the same bytes of scores.json, in whatever order the records come. A row that cannot
// be scored (no result, a loss that is not finite, a gold answer that is no label) counts as missing with its reason; it is never
// silently right or wrong. Of a plan that quantizes it compares each variant with the untouched model, on the rows that both have.
// Nothing here runs a model, so that a changed metric or post-processor needs no inference.
package score
