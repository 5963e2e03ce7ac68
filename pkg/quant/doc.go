// Package quant makes quantized models: it calibrates a model block by block, finds the codes of its matrices by a recipe (spec.Quant), and
// writes them as a checkpoint. Its methods are pure functions of matrices and of statistics of their inputs:
//
//	range.go     Grid: bits, groups, conventions: how a range of values becomes a scale and a zero
//	rtn.go       Quantize: rounding to nearest
//	products.go  what the searches multiply with, and quadratic forms of Gram matrices
//	awq.go       SearchScale: activation-aware scales of the inputs (arXiv 2306.00978)
//	clip.go      SearchClip: its narrower ranges
//	gptq.go      GPTQ: each column's error is made good by those after it (arXiv 2210.17323)
//	smooth.go    SmoothScale: SmoothQuant's move of range from inputs to weights (arXiv 2211.10438)
//	fp8.go       rounding to e4m3fn
//
// The searches never see tokens: the Gram matrix H = sum of x x^T over the calibration tokens of a matrix's input decides the error that
// other weights make in its output, sum of |W'x - Wx|^2 = tr((W'-W) H (W'-W)^T), and so the points of a search share one pass over the text.
//
// Run carries a recipe out on a checkpoint:
//
//	run.go       Job, Run: block after block
//	steps.go     what a method does with a block; awqstep.go, gptqstep.go, fold.go: scales into norms and rows
//	pace.go      how far a block is, and how long the others take
//	stats.go     statistics of a site's input; device.go: products on the device
//	hidden.go    hidden states of all samples, in files, and passes over them in pieces
//	state.go     the work directory: what the next attempt goes on from
//	write.go     weight files and what makes a directory of them a checkpoint; finish.go: names given at the end; export.go: other layouts
//
// A block costs, in memory: its weights, those of a site in f32, the Gram matrices of its sites, and 2048 tokens' activations. On the disk
// the work directory holds the hidden states of the sample twice, 4 bytes a value, beside the weight files.
//
// AWQ, SmoothQuant and rounding to nearest see the inputs that the untouched blocks before make, GPTQ those of the rounded ones, and within a
// block those behind the sites that are rounded already. Neither activations nor the cache are rounded in calibration. An ignored matrix is not
// rounded, but where the inputs it shares with others are scaled, its columns are, too.
//
// Everything is deterministic: no result depends on the number of threads, given Products whose results do not.
package quant
