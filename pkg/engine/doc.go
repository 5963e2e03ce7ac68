// Package engine turns requests into batches for a model: it scores sequences and generates text.
//
// Sequences are sorted by their tokens and packed without padding under a token budget. The keys and values of each lie in pages of one
// cache; full pages of prompts form a trie, so that a prefix is computed once and shared for as long as its pages stay (cache.go). A
// sequence longer than the budget is computed in chunks. A pass (pass.go) is one forward call of the model.
//
// What a request gives does not depend on the other requests, their order, the batch size, the token budget or the page size, bit for
// bit: the kernels compute each token from its own sequence alone, and sums here are taken in the order of positions.
package engine
