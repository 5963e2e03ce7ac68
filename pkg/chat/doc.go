// Package chat renders conversations by a model's own chat template, as transformers' apply_chat_template does. It finds the template
// beside the tokenizer, gives it the special tokens and the variables that transformers gives, and says what a turn ends with. pkg/jinja
// does the rendering. Nothing of the day or the machine reaches a template: equal inputs give equal prompts.
package chat
