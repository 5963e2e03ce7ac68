// Package engine turns requests into batches for a model: it scores sequences and generates text.
//
// The tokens of a call's requests form a trie (trie.go), whose nodes are the runs of tokens that all requests through them have. A node is
// computed once: examples before all questions, a question before its answers, equal inputs of which only the tokens predicted differ, the
// samples of one prompt. A walk down the trie (plan.go) gives the order; a pass (pass.go) is one run of the model over whatever comes next
// in it, without padding, as much as a budget of tokens allows. A node longer than the budget is computed in parts, and one that is to be
// followed by another goes on with it in the same pass.
//
// The keys and values lie in pages of one cache (pages.go). Nodes name pages; where a sequence branches off inside a page, the first branch
// goes on in it and the others get a copy of its beginning. What scoring found stays at the node, so that a sum over a whole prompt has the
// parts that another request computed. After Keep nodes outlive the call until their pages are needed, the longest unused first.
//
// Memory is never more than Options.Memory. A node is begun only if enough remains to bring any that was begun to its end (batcher.leave);
// so little memory makes small passes, and nothing is computed twice but where generations outgrow it, or where branches inside pages do
// not fit: then there are none, and each request computes the rest of a page for itself.
//
// What a request gives does not depend on the other requests, their order, the batch size, the token budget, the page size or what is
// shared, bit for bit: the kernels compute each token from its own sequence alone, and sums here are taken in the order of positions.
package engine
