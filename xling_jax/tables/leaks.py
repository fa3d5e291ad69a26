"""What is known of evaluation sets that share their content: never train or choose on one and score another.

Exact overlaps of text are found by `xling data doctor`; translations of one another are not, so they stand here.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Kin:
    """Splits, as `task.split`, whose examples are the same, or translations of one another."""

    name: str
    splits: str
    why: str


KIN = (
    Kin(
        "SQuAD v1.1 dev",
        "squad.dev squad2.dev squad2.dev16 xquad.test lareqa.test lareqa.candidates",
        "the questions of XQuAD and LAReQA are translations of questions of SQuAD v1.1 dev",
    ),
    Kin(
        "XNLI test",
        "xnli.test xnli_text.test americasnli.test kornli.test xnli_eu.test xnli_variants.test myxnli.test cxnli.test",
        "test rows are translations of one another, or of a part",
    ),
    Kin(
        "XNLI dev",
        "xnli.dev xnli_text.dev americasnli.dev kornli.dev myxnli.dev cxnli.dev",
        "dev rows are translations of one another, or of a part",
    ),
    Kin("MNLI", "mnli.train xnli.train xnli_translated.train kornli.train", "one training set, and its translations"),
    Kin("COPA val", "copa.dev xcopa.dev", "translations of one another"),
    Kin("COPA test", "copa.test xcopa.test", "translations of one another"),
    Kin("PAWS-X dev", "pawsx.dev", "translations of one another across its languages"),
    Kin("PAWS-X test", "pawsx.test", "translations of one another across its languages"),
    Kin("MLQA", "mlqa.dev mlqa.test", "parts are translations of one another across its languages"),
    Kin("XStoryCloze", "xstorycloze.test", "translations of one another across its languages"),
    Kin("PUD", "ud_pud.test ud_text.pud udpos.test", "translations of one another; XTREME's test files hold them too"),
    Kin("EWT train", "ud_ewt.train ud_text.ewt_train udpos.train", "the same sentences"),
    Kin("Tatoeba", "tatoeba.test tatoeba_text.other tatoeba_text.english", "the same sentences"),
    Kin("TyDi QA dev", "tydiqa.test tydiqa.test_blind", "the same questions, with and without answers"),
)
