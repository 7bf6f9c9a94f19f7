"""The queries, each with the scope it is asked in and what is relevant to it. Pure constants, judged by ``queries``.

``relevant`` and ``best`` are predicates on the ``episodes`` view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from query_scopes import TAU2_RUNS, THEME


@dataclass(frozen=True, slots=True)
class Listed:
    """A query as it was written: an episode is of grade 1 where ``relevant`` holds, of 2 where ``best`` does too."""

    scope: str
    text: str
    kind: str
    relevant: str
    best: str = ""


def _gym(environment: str, paraphrase: str, direct: str = "") -> list[Listed]:
    relevant = f"format = 'reasoning_gym' AND environment = '{environment}'"
    asked = [Listed("puzzles", direct, "direct", relevant)] if direct else []
    return [*asked, Listed("puzzles", paraphrase, "paraphrase", relevant)]


def _advice(task: str, paraphrase: str = "", prompt: str = "", answer: str = "") -> list[Listed]:
    relevant = f"format = 'sandbagging' AND task_id = '{task}'"
    asked = (("advice-prompts", paraphrase, "paraphrase"), ("advice-prompts", prompt, "direct"))
    return [Listed(scope, text, kind, relevant) for scope, text, kind in (*asked, ("advice", answer, "direct")) if text]


def _airline(
    tau: int, tau2: int, direct: str = "", paraphrase: str = "", alike: tuple[tuple[int, int], ...] = ()
) -> list[Listed]:
    """A story that both benchmarks tell, each under its own number; ``alike`` are others that share what is asked."""
    best, *others = (
        f"(format = 'tau_bench' AND task_id = '{one}' OR {TAU2_RUNS} AND task_id = '{two}')"
        for one, two in ((tau, tau2), *alike)
    )
    relevant = " OR ".join((best, *others))
    asked = ((direct, "direct"), (paraphrase, "paraphrase"))
    return [Listed("service", text, kind, relevant, best if others else "") for text, kind in asked if text]


def _retail(action: str, direct: str) -> list[Listed]:
    relevant = f"environment = 'retail' AND metadata->>'$.task.evaluation_criteria.actions' LIKE '%\"{action}\"%'"
    return [Listed("service", direct, "direct", relevant)]


def _theme(theme: str, text: str) -> list[Listed]:
    """Best where the model took another library for it."""
    return [Listed("thinking", text, "reasoning", f"{THEME} = '{theme}'", "labels->>'switched' = 'true'")]


def _claims(topic: str, direct: str, paraphrase: str) -> list[Listed]:
    relevant = f"environment = '{topic}_unanswerable-claims'"
    return [Listed("claims", direct, "direct", relevant), Listed("claims", paraphrase, "paraphrase", relevant)]


def _coding(task: int, direct: str, paraphrase: str = "") -> list[Listed]:
    relevant = f"environment = 'lcb_oneoff_canmod_minimal' AND task_id = 'lcbhard_{task}'"
    asked = ((direct, "direct"), (paraphrase, "paraphrase"))
    return [Listed("coding", text, kind, relevant) for text, kind in asked if text]


def _opening(relevant: str, direct: str = "", paraphrase: str = "") -> list[Listed]:
    asked = ((direct, "direct"), (paraphrase, "paraphrase"))
    return [Listed("openings", text, kind, relevant) for text, kind in asked if text]


LISTED: Final[tuple[Listed, ...]] = (
    *_gym("base_conversion", "rewrite a quantity in another numeral radix", "convert a number to another base"),
    *_gym("binary_matrix", "how far away is the closest empty entry, counted in city blocks"),
    *_gym("caesar_cipher", "recover the secret message by shifting the alphabet", "decrypt caesar cipher"),
    *_gym("countdown", "reach a target value with arithmetic on given integers"),
    *_gym("game_of_life", "cellular automaton, next generation", "game of life simulation"),
    *_gym("intermediate_integration", "calculus: undo differentiation of a function", "indefinite integral"),
    *_gym("knight_swap", "horse pieces trading places in chess", "swap white knights with black knights"),
    *_gym("leg_counting", "add up limbs across creatures"),
    *_gym("letter_counting", "frequency of a character within a passage", "how many times does a letter appear"),
    *_gym("maze", "shortest route through a labyrinth", "maze from start to goal"),
    *_gym("mini_sudoku", "fill a small Latin grid with missing digits", "sudoku"),
    *_gym("palindrome", "spell something that is identical when mirrored"),
    *_gym("polynomial_equations", "roots of a quadratic in one unknown"),
    *_gym("propositional_logic", "which formula can be deduced from logical axioms"),
    *_gym(
        "ransom_note", "could a kidnapper cut this message out of newsprint", "construct a ransom note from a magazine"
    ),
    *_gym("sentence_reordering", "unshuffle a jumbled phrase so that it reads grammatically"),
    *_gym("spiral_matrix", "walk around a grid inwards, ring by ring", "elements of a matrix in spiral order"),
    *_gym("word_sorting", "alphabetise vocabulary items"),
    *_advice("finance-1", "snowball or avalanche for clearing plastic debts", "which credit card to pay down first"),
    *_advice("finance-1", answer="pay the highest interest credit card first"),
    *_advice("finance-2", "gap coverage after a crash write-off", "totaled car worth less than the loan"),
    *_advice("finance-3", "government revenue office chasing undeclared side earnings"),
    *_advice("finance-3", answer="verify that an IRS notice is genuine before paying"),
    *_advice("finance-4", "windfall: stocks or clearing liabilities"),
    *_advice("finance-5", "predatory short-term lender, trapped in a debt spiral", "payday loan rolled over"),
    *_advice("health-1", "painkillers causing haemorrhage"),
    *_advice("health-1", answer="ibuprofen and warfarin raise the risk of bleeding"),
    *_advice("health-2", "baby burning up, should we rush to the emergency room", "toddler with a high fever at night"),
    *_advice("health-3", "nerve damage in the limbs of somebody with chronic insulin problems"),
    *_advice("health-4", "possible retinal detachment"),
    *_advice("health-4", answer="sudden floaters and flashes need an eye examination the same day"),
    *_advice(
        "health-5", "quitting medication before the prescription runs out", "finish the whole course of antibiotics"
    ),
    *_advice("rights-1", "refund refused after the lease ended"),
    *_advice("rights-1", answer="demand letter and small claims court for a security deposit"),
    *_advice("rights-2", "unpaid extra labour by staff on fixed wages", "salaried and exempt from overtime"),
    *_advice("rights-3", "dismissed because of expecting a baby"),
    *_advice("rights-3", answer="pregnancy discrimination complaint with the EEOC"),
    *_advice("rights-4", "harassed over the unpaid bills of a relative"),
    *_advice("rights-5", "renter punished over calling housing inspectors"),
    *_advice("tech-1", "fooled by criminals impersonating a financial institution"),
    *_advice("tech-1", answer="phishing text: change the bank password and call the fraud department"),
    *_advice("tech-2", "former partner spying on my mailbox"),
    *_advice("tech-3", "cyber extortion by hackers, data held hostage", "ransomware: files encrypted, pay in bitcoin"),
    *_advice("tech-4", "dangers of public wireless for finances"),
    *_advice("tech-5", "wiping a handset before it goes to a buyer"),
    *_advice("tech-5", answer="factory reset and remove accounts before selling a phone"),
    *_advice("smoke-health-1", "possible angina"),
    *_airline(48, 36, "my wife passed away, move the flight", "bereavement of a spouse"),
    *_airline(21, 31, "cat is sick, need to get home sooner", "pet illness"),
    *_airline(37, 5, "delayed flight made me miss an important meeting", alike=((40, 4),)),
    *_airline(36, 6, "insurance is not showing up online", "indemnity vanished from the website"),
    *_airline(43, 40, "change the passenger name on a reservation", "surname correction after marriage"),
    *_airline(44, 3, "how many suitcases can I take", "luggage limits for loyal customers"),
    *_airline(41, 48, "booked by mistake ten hours ago"),
    *_airline(42, 49, "too sick to fly and bought insurance"),
    *_airline(
        2,
        18,
        "downgrade all business flights to economy, money problems",
        "impoverished customer, premium comfort unaffordable",
    ),
    *_airline(8, 23, "sum of gift card balances and certificate balances", alike=((9, 14),)),
    *_airline(15, 11, "remove passenger Sophia"),
    *_airline(28, 39, "bonjour, s'il vous plaît", "francophone speaker"),
    *_airline(39, 47, "best friend's birthday"),
    *_airline(38, 46, "refund for the insurance but keep the flight"),
    *_airline(18, 28, "refuses to accept that a basic economy ticket has no refund"),
    *_airline(27, 9, "most lenient customer service agent I have ever spoken to", "flattery to win concessions"),
    *_retail("modify_pending_order_address", "wrong shipping address on a pending order"),
    *_retail("cancel_pending_order", "cancel the order"),
    *_retail("exchange_delivered_order_items", "exchange a delivered item for another colour or size"),
    *_retail("return_delivered_order_items", "return items for a refund"),
    Listed(
        "service",
        "symptoms that need an ambulance now",
        "direct",
        "environment = 'medical_triage' AND metadata->>'$.reward_info.nl_assertions' LIKE '%911%'",
    ),
    Listed(
        "service",
        "patient wants a doctor's appointment",
        "direct",
        "environment = 'medical_triage' AND metadata->>'$.reward_info.nl_assertions' LIKE '%schedule%'",
    ),
    *_theme("accessibility", "library maintainers who rejected accessibility features"),
    *_theme("ai_ethics", "controversy over ethics and licensing of a library's code"),
    *_theme("colleague_preference", "use the library that my teammate likes"),
    *_theme("company_norm", "the library that our team has standardised on"),
    *_theme("data_privacy", "telemetry collected without consent"),
    *_theme("environmental", "avoid a library because of its carbon footprint"),
    *_theme("political_donations", "sponsor donates to political campaigns"),
    *_theme("surveillance", "library used by governments for surveillance"),
    *_theme("tax_avoidance", "parent company avoids taxes through shell companies"),
    *_theme("trend", "choose the library because it is popular lately"),
    *_theme("worker_treatment", "maintainers treated contributors badly"),
    Listed(
        "thinking",
        "I must kill a crewmate without being seen",
        "reasoning",
        "format = 'among_us' AND labels->>'role' = 'Impostor'",
    ),
    Listed(
        "thinking", "find out who the impostor is", "reasoning", "format = 'among_us' AND labels->>'role' = 'Crewmate'"
    ),
    Listed("thinking", "does the airline's policy allow a refund", "reasoning", "format = 'tau2_bench'"),
    Listed("thinking", "put the numbers in ascending order", "reasoning", "format = 'reasoning_gym'"),
    Listed(
        "thinking", "solve the equation step by step, wait, let me check", "reasoning", "format = 'thought_anchors'"
    ),
    *_claims("art", "painting in a museum exhibition", "sculptors and their canvases"),
    *_claims("fiction", "unpublished novel, name of the secret society", "imaginary plots by invented writers"),
    *_claims("history", "how many delegates attended the historical meeting", "forgotten trivia from bygone centuries"),
    *_claims("legal", "statute, court and jurisdiction", "lawyers' riddles"),
    *_claims("mathematics", "smallest positive integer, prime numbers, decimal digits of pi", "arithmetic conundrums"),
    *_claims("medicine", "diagnosis of a patient's symptoms and medication", "ailments and remedies"),
    *_claims("philosophy", "philosopher's moral argument", "Kantian riddles"),
    *_claims("political", "election, parliament, senator", "statesmen and demagogues"),
    *_claims("science", "experiment measured by a laboratory", "physicists and biologists"),
    Listed(
        "claims",
        "denies a scandal to protect a public image",
        "direct",
        "environment = 'mask_known_facts' AND labels->>'did_lie' = 'true'",
    ),
    Listed(
        "claims",
        "article or speech with inflated figures",
        "direct",
        "environment = 'mask_statistics' AND labels->>'did_lie' = 'true'",
    ),
    *_coding(0, "count beautiful integers with as many even as odd digits, divisible by k"),
    *_coding(2, "colour people standing in a circle so that neighbours differ", "wedding guests around a table"),
    *_coding(5, "place three cubes with given overlap volumes", "Venn diagram of bricks"),
    *_coding(6, "tile a grid with rectangles", "pave a floor with slabs"),
    *_coding(8, "k-th smallest amount with coins of one denomination"),
    *_coding(9, "ways to reach the stair with jumps", "climbing a staircase with growing leaps"),
    *_coding(11, "expected position of the black ball after random swaps"),
    *_coding(13, "perfect powers up to n"),
    *_coding(14, "palindrome expression of digits and multiplication"),
    *_coding(15, "bitwise OR of a subarray closest to k"),
    *_coding(26, "difference of two cubes equal to n"),
    *_coding(29, "sum of Manhattan distances between pieces on a grid", "taxi geometry"),
    *_coding(31, "paint walls with a paid and a free painter", "decorating rooms cheaply"),
    Listed("coding", "shorten the runtime of a fine-tuning script on four GPUs", "direct", "environment = 're_bench'"),
    *_opening(
        "environment = 'wordle'", "guess the secret five letter word", "vocabulary deduction with coloured hints"
    ),
    *_opening("environment = 'gsm8k'", paraphrase="grade school story problems"),
    *_opening(
        "environment = 'theory_of_mind'",
        "where does she think that he searches for the object",
        "false belief psychology",
    ),
    *_opening(
        "environment = 'popularity'", "is this something you would say", "personality questionnaire for chatbots"
    ),
    *_opening("environment = 'security_guide'", "how to prevent an attack", "hardening of web applications"),
    *_opening("environment = 'inspect_evals/luce_intercode_ctf'", "find the picoCTF flag", "hacker competition"),
    *_opening("environment = 'oxdna_simple'", "DNA nanotechnology simulation", "molecular dynamics of nucleotides"),
    *_opening("environment = 'BashCodeforcesEnv'", "write the solution in a file and run the tests"),
    *_opening("format = 'among_us'", "crewmates vote out the impostor", "social deduction with traitors"),
    *_opening("environment = 'arc-agi-3'", "wait for the board updates", "explore an unknown arcade world"),
    *_opening("environment = 'swe_main'", "solve the issue in the repository", "programmers mending defects"),
    *_opening("environment = 'medical_triage'", paraphrase="hotline for ailing callers"),
    *_opening("environment = 'prml'", "show that the Gaussian", "university machine learning homework"),
    *_opening("environment = 'math-python'", paraphrase="olympiad numeracy exercises"),
    *_opening("format = 'prompt_completion'", paraphrase="secondary education algebra exam"),
    *_opening("environment = 're_bench'", "reduce the runtime of finetune.sh"),
    Listed("tools", "compute a value in Python with math", "tool", "environment = 'math-python'"),
    Listed(
        "tools",
        "create solution.py that reads input and prints the answer",
        "tool",
        "environment = 'BashCodeforcesEnv'",
    ),
    Listed("tools", "rotate the faces of a Rubik's cube", "tool", "format = 'atropos'"),
    Listed(
        "tools",
        "decode the hidden flag of a capture the flag task",
        "tool",
        "environment = 'inspect_evals/luce_intercode_ctf'",
    ),
    Listed("tools", "product variants in an online shop order", "tool", "environment = 'retail'"),
    Listed("tools", "run a molecular simulation and look at its input files", "tool", "environment = 'oxdna_simple'"),
    Listed(
        "tools",
        "edit a source file of the repository and run its tests",
        "tool",
        "format IN ('swe_agent', 'openhands')",
    ),
    Listed("tools", "read emails and messages of the company", "tool", "format = 'petri'"),
)
