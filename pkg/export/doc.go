// Package export writes what a run found in the forms that other tools read: tables for papers and sheets, rows for data frames, and the
// result layouts of lm-evaluation-harness and OpenCompass.
//
// What is exported is what the run's score and record files have; nothing is computed anew.
package export
