// Package tokenizer turns text into token ids and back, with the ids the reference libraries give.
//
// Three kinds of tokenizer are read, told apart by content and never by a file's name alone:
//
//   - SentencePiece models (tokenizer.model): BPE and unigram, byte fallback, user-defined symbols, the model's own
//     normalizer with its compiled character map. Source: github.com/google/sentencepiece.
//   - Hugging Face tokenizer.json with a BPE model, byte-level or SentencePiece-like. A directory of vocab.json and
//     merges.txt (or encoder.json and vocab.bpe) is the GPT-2 case of it. Source: github.com/huggingface/tokenizers.
//   - tiktoken rank files: lines of base64 token and rank. Source: github.com/openai/tiktoken.
//
// A model type or a component outside these is an error that names it. Nothing is guessed.
//
// # Which file of a directory wins
//
//  1. tokenizer.model, when it is a SentencePiece model, unless tokenizer_config.json names a tokenizer class that only
//     tokenizer.json serves (PreTrainedTokenizerFast, TokenizersBackend, and the GPT-2 and Qwen2 classes). tokenizer.json
//     cannot say all a SentencePiece normalizer does (remove_extra_whitespaces), so the model is the better witness.
//  2. tokenizer.json.
//  3. tokenizer.model when it is a tiktoken rank file (Llama 3 as published), then a file *.tiktoken (Qwen).
//  4. vocab.json and merges.txt, or encoder.json and vocab.bpe.
//
// # BOS and EOS
//
// The BOS and EOS tokens come from tokenizer_config.json, then special_tokens_map.json, then the tokenizer file itself,
// then generation_config.json and config.json. EncodePrompt adds them as Hugging Face's tokenizer(text) does:
// add_bos_token and add_eos_token of tokenizer_config.json win where they are stated; else the post-processor of
// tokenizer.json decides; else a SentencePiece model adds BOS only, as the Llama classes do, Llama 3's rank file adds
// BOS, and the other kinds add nothing.
//
// # Special tokens
//
// Encode reads special tokens' text as plain text (HF: split_special_tokens). Added tokens that are not special are part
// of the vocabulary and are recognised in both. Around special tokens a SentencePiece model follows the "legacy" key of
// tokenizer_config.json as the slow Llama classes of transformers 4 do: absent means true.
//
// Decode leaves special tokens out and never applies clean_up_tokenization_spaces, which would change code and numbers.
//
// # Limits
//
// Regular expressions of tokenizer.json are written for Oniguruma. Those it reads otherwise than the engine here are
// refused. Character classes and case follow Go's Unicode tables (15.0), whose letters, numbers and spaces agree with
// tokenizers 0.23 on every code point up to U+31FFF; its normalization forms are older and order some 60 rare combining marks
// differently. Near ties of a unigram model fall as in sentencepiece 0.2.2.
package tokenizer
