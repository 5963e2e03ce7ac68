#!/usr/bin/env python3
"""Writes the tokenizer.json that transformers makes of a directory's tokenizer.model.

usage: tokenizer.py MODEL-DIR
"""
import sys

import transformers

if len(sys.argv) != 2:
    sys.exit(__doc__)
transformers.AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[1])
