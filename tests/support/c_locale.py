"""The C locale for a Python without the modes that would make it UTF-8 all the same."""

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
