"""The odd strings every tokenizer of the goldens is asked to encode (our own text)."""

STRINGS = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", " \n ", "\t\n\t", "a", " a", "a ", "  a  b  ", "    x = 1",
    "Tom lost the red ball.", "Tom has 2 cups.\nAnswer: 2 + 3\n\nQ: what? A: Tom", "One day Anna went to the market. She bought 3 apples.",
    "Hello world", "Hello  world", " Hello world ", "hello WORLD Hello", "don't can't I'm you're they've she'll he'd it's",
    "DON'T CAN'T I'M YOU'RE THEY'VE SHE'LL HE'D IT'S", "'s 't 're 've 'm 'll 'd", "l\u2019homme, qu'il", "'''quoted'''", "it\u2019s", "'\u017f and '\u017fx",
    "1 12 123 1234 12345 1234567890", "3.14159, 1,000,000 and -42%", "x2y3z", "\u0663\u0664\u0665 \u00bd \u2167 \u00b2\u00b3", "v1.2.3-rc4+build.56",
    "def f(x):\n    return x + 12\n", "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n", "if x:\n        y()\n\n\n    else:\n\tz()", "<html><body class=\"a\">&amp;</body></html>",
    "https://example.org/path?q=a%20b&c=d#frag", "a_b__c___d", "CamelCaseWord snake_case_word", "!!!???...", "--- === *** ###", "\\n \\t \\\\", "$5 \u20ac7 \u00a38 \u00a59", "a\u00a0b\u2003c\u3000d\u200be",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01", "\u4e2d\u6587\u548cEnglish\u6df7\u5408\u6587\u672c123\u3002", "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c", "\u30ab\u30bf\u30ab\u30ca \uff76\uff80\uff76\uff85 \uff27\uff28",
    "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!", "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u03a3\u039f\u03a5", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u05e9\u05dc\u05d5\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "caf\u00e9 cafe\u0301 \u212b \u00c5 A\u030a", "e\u0301\u0301\u0301 \u0301lead", "Z\u0351\u036b\u0343a\u0349l\u0329g\u033ao", "\ufb01ne \ufb00 \u2126 \u2460 \u33a5 \u210c", "\u01c6 \u0149 \u00df \u1e9e", "\u0130stanbul I\u0131 \u0130",
    "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family", "\U0001f44d\U0001f3fd ok", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\U0001f680 (normal) \U0001f636\u200d\U0001f32b\ufe0f (multiple emojis concatenated) \u2705 \U0001f999\U0001f999 3 33 333",
    "a\U0001d400b\U00020000c", "\ufeffBOM", "\u0000nul\u0001\u007f", "\u0085next\u2028line\u2029para", "\ufffd replacement", "\u2581low line\u2581\u2581 x", "\u2581", " \u2581 ", "\u00ad soft\u00adhyphen",
    "<s>", "</s>", "<unk>", "<s>Hello</s>", "a <s> b </s> c", "  <s>  x", "<|endoftext|>", "x<|endoftext|>y", "<|begin_of_text|>Hi<|eot_id|>", "<|im_start|>user\nhi<|im_end|>\n", "<|im_start|> <|im_end|>",
    "<tool_call>{\"a\": 1}</tool_call>", "call <tool_call>  </tool_call> end", "<sep>", "a<sep>b <sep> c", "[[x]]y[[x]]", "<ctl>", "a<ctl>b", "<mask> a <mask> b", "the<mask>the", "word wordy sword word.", "  <mask>\n<mask>  ", "Day monday DAY",
    "<0x0A>", "<0x41>B", "\u0120hello \u010a", "\u00c3\u00a9", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abababababababababababab", "                                          x", "\n\n\n\n\n\n\n\n x \n\n\n", "x" + " " * 7 + "\n" + " " * 5 + "y", "\t\t\t\tx\t \t y",
    "The quick brown fox jumps over the lazy dog. " * 3, "Tom and Mia went to the park; Tom's dog, Rex, wasn't there (he'd left).", "Question: What is 12 + 30?\nAnswer: 12 + 30 = 42. #### 42\n",
    "A. yes\nB. no\nC. maybe\nAnswer:", "\"Quoted,\" she said\u2014\u201ccurly\u201d \u2018single\u2019\u2026", "e.g. i.e. etc. Mr. Dr.", "100% sure @user #tag ^_^ :-) ~/.bashrc", "a\rb\r\rc", "trailing spaces   ", "trailing newline \n", "\n leading", "mixed \t\n\r whitespace \x0b\x0c end",
]
