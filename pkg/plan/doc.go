// Package plan turns a spec into tasks, shards and jobs. Survey looks at the data, models and tokenizers once and reports all that is
// wrong with them; Make is pure: the same spec and inputs give the same plan, byte for byte. A plan is a value that can be printed,
// saved, compared (Diff) and executed.
//
// Where the spec has recipes, a model becomes several variants. What makes them is a task like the others, of one row and the kind Quantize,
// with a job of its own that the jobs of those variants come after; whether a recipe suits the model, its text and the workers is told by
// Survey, before any job.
//
// Two measures of work stand side by side. Cost is in OpenCompass's units and decides how many shards there are, so that
// max_partition_size means what users expect. Tokens are estimated from a sample of rows with the model's own tokenizer: they place the
// shards' boundaries, order the jobs, and with the speeds that a Calibration has of finished runs give the Forecast.
package plan
