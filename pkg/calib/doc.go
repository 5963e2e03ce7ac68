// Package calib makes the token sample that a quantization is calibrated with: it reads the text of a spec.Calib, tokenizes as much of it
// as the sample needs, and cuts it as the reference implementations of the methods do. The same file, tokenizer and numbers always give the
// same tokens, on any machine.
//
// # Cuts
//
// "blocks" is AWQ's and LLMC's cut of the pile's validation set (arXiv 2306.00978, get_calib_dataset): documents in random order, without
// white space around them, are tokenized; those that are empty or longer than a block are left out; the others, one behind another, are cut
// into blocks of seq_len tokens. The references take as many documents as they were asked for samples and get fewer blocks; here there are
// as many blocks as samples. Each document is tokenized as a prompt (tokenizer.EncodePrompt), so each begins with a BOS where the tokenizer
// adds one, as in the references.
//
// "windows" is GPTQ's (arXiv 2210.17323, datautils.py). All rows are joined to one text ("\n\n" between them, of ptb " "), which is tokenized
// once, so that at most its first token is a BOS; each sample begins at a token drawn at random. Of c4 a sample is a window at random of a
// document longer than it, and documents are drawn at random; one that begins where its document does begins with the BOS. Of a text larger
// than 16 MiB (or 8 bytes a wanted token, if that is more) only so much is joined, from a row drawn at random on: a file may be of any size.
//
// # Draws
//
// Draws are by PCG-DXSM (math/rand/v2's PCG) seeded with (seed, 0x73657874616e7421): a number below n is the upper half of the 128-bit
// product of n and the next 64 bits, and an order is that of Fisher and Yates from the front. They are not the references' draws, whose
// generators are Python's and torch's: the samples are other ones of the same distribution.
//
// # Files
//
// Every format of pkg/dataset is read. Plain jsonl files and text files whose rows are lines may be of any size: an index of their lines is
// held, 8 bytes each, and only rows that are drawn are decoded. Files of other formats, and compressed ones, are held in memory.
package calib
