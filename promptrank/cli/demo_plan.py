"""What the demo does, on how much data, and what it says before and after."""

from pathlib import Path

TASK = "movies/like"
FUSED = ["score=fused"]
FOLDER = Path("demo")
LIMIT = 80  # members of the test part
ADAPTER = "movies"  # comes with promptrank; its card says how it was trained
OWN = "demo"
STUDENT = "movies-small"
UNTAUGHT = f"{STUDENT}-labels"
LABELS = 240  # of the short training
FUSED_ON = 30  # validation members
TAUGHT = 40  # members of each part for whom the decoder answers the student
LABELLED = 20  # of these, whose labels it is given too

DECODER = "decoder, shipped adapter"
PUPIL = "student of the decoder"
BASELINES = {
    "item_member_mean": "item mean + member mean",
    "logistic": "logistic regression on fields",
    "popularity": "popularity",
    "random": "random order",
}
STEPS = 5

INTRO = f"""\
promptrank demo: which of ten movies will a member like? Members, movies and stars are those of
MovieLens-100K; they are ranked by SmolLM2-135M, a small language model, with the adapter
"{ADAPTER}" that comes with promptrank. No GPU is needed. First one ranking, then the figures."""

NEXT = f"""
What comes next, about six minutes on two idle cores:
  step 1 of 5  train an adapter of your own on {LABELS} ratings       half a minute
  step 2 of 5  add three plain numbers to the model's score      half a minute
  step 3 of 5  teach a small, fast student                       1 min
  step 4 of 5  rank for many members with all of them            3 min
  step 5 of 5  compare them, and measure what they cost          half a minute"""

MORE = """
What to try next (source .venv/bin/activate first, so that the shell finds promptrank)
  promptrank render movies/like                     the exact prompt, piece by piece
  promptrank train movies/like --adapter mine --limit 3000
  promptrank eval movies/like --adapter mine --vs adapter:movies
  promptrank eval movies/rating --limit 50          five graded answers instead of yes and no
  promptrank simulate jobs --out data/jobs          a second domain; then tasks jobs/apply, jobs/fit
  promptrank init my-project                        a project of your own to start from
"""
