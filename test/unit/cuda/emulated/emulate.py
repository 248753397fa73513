#!/usr/bin/env python3
"""Makes C++ of a CUDA source for the emulated device: emulate.py IN.cu OUT.cc"""
import re
import sys

with open(sys.argv[1], encoding="utf-8") as f:
    text = f.read()
text, launches = re.subn(r"(\w+(?:<\w+>)?)<<<(.*?)>>>\(", r"emu_launch(\1, \2)(", text, flags=re.S)
text, shared = re.subn(r"extern __shared__ (\w+) (\w+)\[\];", r"\1 *\2 = emu_shared();", text)
if launches == 0:
    sys.exit(f"emulate: no launch in {sys.argv[1]}")
with open(sys.argv[2], "w", encoding="utf-8") as f:
    f.write(f'#line 1 "{sys.argv[1]}"\n{text}')
