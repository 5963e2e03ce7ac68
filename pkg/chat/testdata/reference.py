"""Writes golden.json: the conversations below through every template, by Jinja2 in the environment of transformers' apply_chat_template.

    python3 reference.py        (jinja2 3.1)
"""
import glob
import json
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "../../jinja/testdata"))
from reference import environment  # noqa: E402

CONVERSATIONS = [
    "HUMAN:Hello, how are you?",
    "SYSTEM:Be terse.\n|HUMAN:  What is 2 + 2?\n\n",
    "HUMAN:é中 \"q\" 'x'|BOT: Four.\n|HUMAN:Why <|im_end|>?",
    "SYSTEM:S|HUMAN:a|BOT:<think>\nhm\n</think>\n\nb|HUMAN:c|BOT:d|HUMAN:e\r\nf",
    "HUMAN:a|BOT:<think>t</think>b",
    "HUMAN:",
    "HUMAN:a|HUMAN:b",
    "SYSTEM:|HUMAN:x",
    "BOT:x",
]
ROLES = {"HUMAN": "user", "BOT": "assistant", "SYSTEM": "system"}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def main():
    out = []
    for path in sorted(glob.glob(os.path.join(here, "templates", "*.jinja"))):
        with open(path) as f:
            template = environment().from_string(f.read())
        for conversation in CONVERSATIONS:
            messages = [{"role": ROLES[role], "content": words} for role, words in turns(conversation)]
            for generate in (True, False):
                for arguments in ({}, {"enable_thinking": False, "date_string": "26 Jul 2024"}):
                    one = {"template": os.path.basename(path), "turns": turns(conversation), "generate": generate, "args": arguments}
                    try:
                        one["text"] = template.render(messages=messages, tools=None, documents=None, add_generation_prompt=generate, **TOKENS, **arguments)
                    except Exception as e:
                        one["error"] = str(e)
                    out.append(one)
    with open(os.path.join(here, "golden.json"), "w") as f:
        json.dump(out, f, ensure_ascii=False, indent=1)
        f.write("\n")


def turns(conversation):
    """"ROLE:words|ROLE:words" as pairs; a | that no role follows is part of the words."""
    out = []
    for part in conversation.split("|"):
        role, colon, words = part.partition(":")
        if colon and role in ROLES:
            out.append([role, words])
        else:
            out[-1][1] += "|" + part
    return out


if __name__ == "__main__":
    main()
