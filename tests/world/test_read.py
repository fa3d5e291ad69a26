"""The door: schemas, parallel ids, splits, determinism, errors."""

import hashlib
import itertools
import json

import pytest

from xling_jax.errors import ConfigError, DataError
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import TASKS
from xling_jax.world import VERSION, events, examples, inference, pieces, questions, read
from xling_jax.world.examples import RECIPES, meanings
from xling_jax.world.render import renderer
from xling_jax.world.typology import WORLD_LANGUAGES

CODES = tuple(WORLD_LANGUAGES)
PARALLEL = tuple(task for task, recipe in RECIPES.items() if recipe.parallel)
QA = ("world_qa", "world_qa2")


def test_recipes_are_the_tasks_of_the_table():
    world = {name: row for name, row in TASKS.items() if row.reader == "world"}
    assert set(RECIPES) == set(world)
    for name, row in world.items():
        assert set(row.splits) <= set(RECIPES[name].splits), name


@pytest.mark.parametrize("task", RECIPES)
@pytest.mark.parametrize("language", CODES)
def test_examples_have_the_fields_of_their_kind(task, language):
    row = TASKS[task]
    for example in read(task, "train", language, 50):
        assert {"id", *KINDS[row.kind].fields} <= set(example)
        if row.kind == "pair_classification":
            assert example["label"] in row.labels
        if row.kind == "tagging":
            assert len(example["tokens"]) == len(example["tags"]) and set(example["tags"]) <= set(row.labels)
            assert not any(" " in token for token in example["tokens"])
        for field in ("text", "text_pair", "question", "context"):
            text = example.get(field, "")
            assert text == text.lower() == " ".join(text.split())


# A checksum of the first 20 examples of every split in every language.
GOLDEN = {
    "world_text": "ee6c634a9110799e",
    "world_nli": "074f5459762c370b",
    "world_qa": "20d48400509e791a",
    "world_qa2": "e4fbdcc5a4926d0c",
    "world_pos": "1b8b747a7d2ce0f4",
    "world_ner": "1cab5be9c7362195",
    "world_choice": "8166bba32c761f97",
    "world_parallel": "b06e29d8ba5e2216",
    "pieces": "226d6c575b19b0a8",
}


@pytest.mark.parametrize("task", RECIPES)
def test_examples_are_the_same_everywhere(task):
    rows = [
        example for split in RECIPES[task].splits for language in CODES for example in read(task, split, language, 20)
    ]
    found = hashlib.sha256(json.dumps(rows, ensure_ascii=False, sort_keys=True).encode()).hexdigest()[:16]
    assert found == GOLDEN[task], (
        f"Examples of '{task}' changed: {found}. If that was meant, raise VERSION in world/examples.py, as prepared\n"
        "data are found by it, and write the new checksum here. If not, something has become random or unsorted."
    )


def test_vocabulary_is_the_same_everywhere():
    found = hashlib.sha256("\n".join(pieces()).encode()).hexdigest()[:16]
    assert found == GOLDEN["pieces"], f"The vocabulary changed: {found}. Raise VERSION in world/examples.py."


def test_version_is_a_word():
    assert VERSION and VERSION.isalnum()


@pytest.mark.parametrize("task", PARALLEL)
def test_ids_are_parallel_and_so_are_meanings(task):
    ids = {code: [row["id"] for row in read(task, "test", code, 30)] for code in CODES}
    assert all(found == ids["qen"] for found in ids.values()) and len(set(ids["qen"])) == 30
    means = {code: list(itertools.islice(meanings(task, "test", code), 30)) for code in CODES}
    assert all(found == means["qen"] for found in means.values())


@pytest.mark.parametrize("field", ["label"])
@pytest.mark.parametrize("task", ["world_nli", "world_choice"])
def test_labels_are_parallel(task, field):
    labels = {code: [row[field] for row in read(task, "test", code, 100)] for code in CODES}
    assert all(found == labels["qen"] for found in labels.values())


def test_texts_are_not_parallel():
    first = {code: next(meanings("world_text", "train", code)) for code in CODES}
    assert len(set(first.values())) == len(CODES)
    assert next(read("world_text", "train", "qnd", 1))["id"] == "world_text.train.qnd.0"


def test_more_examples_begin_with_the_same():
    assert list(read("world_nli", "dev", "qda", 5)) == list(itertools.islice(read("world_nli", "dev", "qda", 50), 5))


def first_events(task, split, count):
    """Returns the events an example is about, in any task."""
    for meaning in itertools.islice(meanings(task, split, "qen"), count):
        if task in QA:
            yield from meaning.context
        elif task == "world_nli":
            yield meaning.premise
        elif task == "world_choice":
            yield meaning.event
        elif task == "world_text":
            yield meaning.first
            if isinstance(meaning.second, events.Event) and meaning.second.verb != meaning.first.verb:
                yield meaning.second
        elif isinstance(meaning, events.Event):
            yield meaning


def core(event):
    nouns = [phrase.noun for phrase in (event.agent, event.patient) if phrase]
    return frozenset([event.verb, events.contrary(event).verb]), frozenset(nouns)


def test_no_event_is_in_two_splits():
    cores = {
        split: {
            core(event)
            for task, recipe in RECIPES.items()
            if split in recipe.splits
            for event in first_events(task, split, 1_000)
            if not event.agent.noun.startswith("any_") and not (event.patient and event.patient.noun.startswith("any_"))
        }
        for split in ("train", "dev", "test")
    }
    for one, two in itertools.combinations(cores, 2):
        common = cores[one] & cores[two]
        assert cores[one] and not common, f"{one} and {two} share {len(common)} events, such as {min(common, key=str)}"


@pytest.mark.parametrize("task", PARALLEL)
@pytest.mark.parametrize("language", ["qen", "qdt"])
def test_no_example_is_twice_in_a_split(task, language):
    rows = [{k: v for k, v in row.items() if k != "id"} for row in read(task, "test", language, 500)]
    texts = [json.dumps(row) for row in rows]
    assert len(set(texts)) == len(texts)
    if task == "world_parallel":
        assert len({row["text"] for row in rows}) == len({row["text_pair"] for row in rows}) == len(rows)


@pytest.mark.parametrize("task", QA)
@pytest.mark.parametrize("language", CODES)
def test_answers_are_where_they_are_said_to_be(task, language):
    for row in read(task, "train", language, 500):
        (answer,) = row["answers"]
        context, start, stop = row["context"], answer["start"], answer["start"] + len(answer["text"])
        assert answer["text"] and context[start:stop] == answer["text"]
        assert (start == 0 or context[start - 1] == " ") and context[stop] == " ", "an answer is whole words"


@pytest.mark.parametrize("task", QA)
def test_a_question_fits_one_event_only(task):
    twins = 0
    for question in itertools.islice(meanings(task, "train", "qen"), 500):
        asked, role = question.query.event, question.query.role
        same_verb = [event for event in question.context if core(event)[0] == core(asked)[0]]
        shown = [part for part in ("agent", "patient") if part != role and getattr(asked, part)]
        fitting = [e for e in same_verb if all(getattr(e, part).noun == getattr(asked, part).noun for part in shown)]
        assert fitting == [question.context[question.asked]]
        twins += len(same_verb) > 1
    assert twins > 350, "too few questions that shared words do not answer"


@pytest.mark.parametrize("language", CODES)
def test_questions_with_context_fit_40_pieces(language):
    speaker = renderer(language)
    for question in itertools.islice(meanings("world_qa2", "train", language), 1_000):
        tokens = [*speaker.question(question.query)]
        # "Which time" is a piece longer than the time it asks for.
        assert sum(len(token.pieces) for token in tokens) <= questions.most_pieces(question.query.event) + 1
        for event in question.context:
            tokens += speaker.sentence(event)
            assert sum(len(t.pieces) for t in speaker.sentence(event)) <= questions.most_pieces(event)
        assert sum(len(token.pieces) for token in tokens) <= questions.ROOM


def test_labels_of_nli_are_those_of_the_logic():
    counts = dict.fromkeys(TASKS["world_nli"].labels, 0)
    for pair in itertools.islice(meanings("world_nli", "train", "qen"), 3_000):
        assert inference.relation(pair.premise, pair.hypothesis) == pair.label, pair
        counts[pair.label] += 1
    assert all(abs(count / 3_000 - 1 / 3) < 0.03 for count in counts.values()), counts


def test_entities_are_noun_phrases():
    """Two mentions side by side, as where the verb stands first or last, begin with B each."""
    event = events.Event("love", events.Phrase("dog", "small", 3), events.Phrase("name0"), events.Phrase("house"), "in")
    tags = {code: RECIPES["world_ner"].write(event, renderer(code))["tags"] for code in CODES}
    assert tags["qda"] == "O O B-ANI I-ANI I-ANI B-PER O O B-LOC O".split()
    assert tags["qdt"] == "B-ANI I-ANI I-ANI B-LOC O B-PER O O".split()


REFUSED = {
    "task": (("world_nly", "train", "qen", 1), "Did you mean: world_nli"),
    "split": (("world_text", "dev", "qen", 1), "Unknown split 'dev' in task 'world_text'"),
    "language": (("world_nli", "train", "en", 1), "Unknown language 'en' in task 'world_nli'"),
    "size": (("world_nli", "train", "qen", 0), "Size 0 of cell 'world_nli.train.qen'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_wrong_arguments_are_refused_at_once(what):
    arguments, said = REFUSED[what]
    with pytest.raises(ConfigError, match=said):
        read(*arguments)


def test_a_world_that_is_used_up_says_so(monkeypatch):
    monkeypatch.setattr(examples, "PATIENCE", 10)
    drawn = itertools.cycle(["a", "b"])
    with pytest.raises(DataError, match="no more than about 2 different examples"):
        list(examples._distinct(drawn, "world_nli.dev"))


def test_parallel_sentences_translate_into_the_source():
    source = list(read("world_parallel", "test", "qen", 100))
    for code in CODES[1:]:
        rows = list(read("world_parallel", "test", code, 100))
        assert [row["text_pair"] for row in rows] == [row["text"] for row in source], code
    assert all(row["text"] != row["text_pair"] for row in source), "the source is paired with other words for the same"
