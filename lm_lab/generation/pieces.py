"""What of a text is new, where tokens are decoded together with those before them."""


def beyond(shown: str, text: str) -> str:
    """What a text has beyond what it shares with the beginning of another."""
    return text[len(common(shown, text)) :]


def common(one: str, other: str) -> str:
    """What both begin with."""
    pairs = enumerate(zip(one, other))
    return one[: next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))]
