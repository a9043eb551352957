"""Requests to token ids: templates as fragments, answers as token paths, within a budget."""

from promptrank.prompt.budget import Cuts
from promptrank.prompt.encode import Encoder
from promptrank.prompt.encoded import Encoded
from promptrank.prompt.preview import CandidatePreview, Piece, Preview
from promptrank.prompt.template import Template, load_template
from promptrank.prompt.tokenizer import TextTokenizer, from_transformers, open_tokenizer

__all__ = [
    "CandidatePreview",
    "Cuts",
    "Encoded",
    "Encoder",
    "Piece",
    "Preview",
    "Template",
    "TextTokenizer",
    "from_transformers",
    "load_template",
    "open_tokenizer",
]
