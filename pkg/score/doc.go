// Package score turns records into scores with n, missing, standard error and interval.
//
// Compute is pure: the same plan and records give the same bytes of scores.json, in whatever order the records come. A row that cannot
// be scored (no result, a loss that is not finite, a gold answer that is no label, a program that was not run) counts as missing with its
// reason; it is never silently right or wrong. Of a plan that quantizes it compares each variant with the untouched model, on the rows that
// both have; Compare does the same of any two models. Nothing here runs a model, so that a changed metric or post-processor needs no
// inference. Generated code is run only through the Runner that a caller gives, and once: Verdicts remembers what became of it.
//
//	records -> question (a row's samples) -> scorer (texts, choices, windows) -> sheet (a metric's outcome of every row)
//	sheet -> Score: value, standard error (formula, clusters), interval (Wilson, bootstrap), bounds of what is missing
//	two sheets -> paired -> Comparison: difference, interval, test, smallest detectable difference
//
// The metrics of texts are small functions of pkg/metric, by name in measures.go.
package score
