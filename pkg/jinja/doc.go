// Package jinja renders chat templates: the part of the Jinja language that tokenizer_config.json files are written in, as Jinja2 3.1
// reads it in the environment of transformers' apply_chat_template (trim_blocks, lstrip_blocks, loop controls, undefined names that are
// empty where they are printed). What a template gives here, it gives there, byte for byte, or it is an error: a filter, test, method
// or statement that is not among those of this package is refused by its name where a rendering comes to it, never passed over.
//
// A template is a program of unknown origin. It reaches nothing but its variables, and its work is bounded: so many steps and bytes
// (Budget), so deep a nesting, so large a source.
//
// Source: the Jinja 3.1 template designer documentation and its grammar; transformers' utils/chat_template_utils.py.
package jinja
