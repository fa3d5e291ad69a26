"""world_pos and world_ner, tags on words; world_parallel, the same event said in two languages."""

import random
from typing import NamedTuple

from xling_jax.world.events import Event, Style, contrary, deny, draw_event, shorten
from xling_jax.world.ontology import uniform
from xling_jax.world.questions import ROLES
from xling_jax.world.render import Renderer, Tokens, renderer, text_of
from xling_jax.world.typology import SOURCE

_STYLE = Style(kind=0.05)


class Saying(NamedTuple):
    """An event that is stated, or a question for `role` of it."""

    event: Event
    role: str = ""


def draw(rng: random.Random, split: str) -> Saying:
    """Returns a statement of the split, or in one of five a question."""
    event = draw_event(rng, split, style=_STYLE)
    if rng.random() < 0.2:
        role = uniform(rng, tuple(role for role in ROLES if getattr(event, role)))
        return Saying(shorten(rng, event)._replace(**{role: getattr(event, role)}), role)
    return Saying(event)


def _say(saying: Saying, speaker: Renderer) -> Tokens:
    return speaker.question(saying.event, saying.role) if saying.role else speaker.sentence(saying.event)


def write_pos(saying: Saying, speaker: Renderer) -> dict:
    tokens = _say(saying, speaker)
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


def write_ner(saying: Saying, speaker: Renderer) -> dict:
    tokens = _say(saying, speaker)
    return {"tokens": [token.word for token in tokens], "tags": entity_tags(tokens)}


def draw_statement(rng: random.Random, split: str) -> Saying:
    return Saying(draw_event(rng, split, style=_STYLE))


def write_parallel(saying: Saying, speaker: Renderer) -> dict:
    """Returns a sentence and the source's; for the source itself, which has no translation, the same in other words."""
    pivot = deny(contrary(saying.event)) if speaker.row.code == SOURCE else saying.event
    return {"text": text_of(speaker.sentence(saying.event)), "text_pair": text_of(renderer(SOURCE).sentence(pivot))}
