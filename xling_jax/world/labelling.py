"""world_pos and world_ner, tags on words; world_parallel, the same event said in two languages."""

import random

from xling_jax.world.events import Event, Query, Style, ask, contrary, deny, draw_event
from xling_jax.world.render import Renderer, Tokens, renderer, text_of
from xling_jax.world.typology import SOURCE

_STYLE = Style(kind=0.05)


def draw(rng: random.Random, split: str) -> Event | Query:
    """Returns a statement of the split, or in one of five a question."""
    event = draw_event(rng, split, style=_STYLE)
    return ask(rng, event, with_kind=rng.random() < 0.5) if rng.random() < 0.2 else event


def write_pos(said: Event | Query, speaker: Renderer) -> dict:
    tokens = speaker.say(said)
    return {"tokens": [token.word for token in tokens], "tags": [token.upos for token in tokens]}


def entity_tags(tokens: Tokens) -> list[str]:
    """Returns B-, I- and O tags; a mention ends where the role does, as two may stand side by side."""
    tags, open_role = [], ""
    for token in tokens:
        if not (token.entity and token.core):
            tags.append("O")
            open_role = ""
        else:
            tags.append(f"{'I' if token.role == open_role else 'B'}-{token.entity}")
            open_role = token.role
    return tags


def write_ner(said: Event | Query, speaker: Renderer) -> dict:
    tokens = speaker.say(said)
    return {"tokens": [token.word for token in tokens], "tags": entity_tags(tokens)}


def draw_statement(rng: random.Random, split: str) -> Event:
    return draw_event(rng, split, style=_STYLE)


def write_parallel(event: Event, speaker: Renderer) -> dict:
    """Returns a sentence and the source's; for the source itself, which has no translation, the same in other words."""
    pivot = deny(contrary(event)) if speaker.row.code == SOURCE else event
    return {"text": text_of(speaker.sentence(event)), "text_pair": text_of(renderer(SOURCE).sentence(pivot))}
