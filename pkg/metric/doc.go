// Package metric holds the scorers of generated text and of log-likelihoods as small pure functions of text and numbers: it knows no
// records, no spec and no data set. Each function names the paper or the reference tool it follows and says where it differs.
//
//	texts against texts   ExactMatch, F1 and ContainsAny (SQuAD, TriviaQA, NQ and OpenCompass's readings of them), ROUGE, BLEU, CHRF
//	answers in texts      FirstOption, LastNumber, GSM8KAnswer, Boxed, and Chain: the post-processors by name
//	mathematics           Equivalent
//	instructions          IFEval
//	log-likelihoods       Softmax, Best, PerLength, MC2
//	several samples       PassAtK, MajorityVote
//
// No function panics on any input, and each takes time bounded by the size of its input; ROUGE-L takes their product.
package metric
