"""The words that people, jobs and queries are made of. No company here exists on purpose."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trade:
    """A field of work.

    Attributes:
        roles: (title, what somebody may type who looks for it).
        skills: six; none belongs to two fields.
        licence: what some of its jobs ask for.
    """

    name: str
    roles: tuple[tuple[str, str], ...]
    skills: tuple[str, ...]
    licence: str


FIELDS = (
    Trade(
        "care",
        (("nurse", "nursing"), ("carer", "looking after people"), ("midwife", "helping at births")),
        ("triage", "bathing", "feeding", "charting", "vaccines", "bandages"),
        "nursing",
    ),
    Trade(
        "kitchen",
        (("cook", "cooking"), ("baker", "bread and cakes"), ("butcher", "meat counter")),
        ("baking", "grilling", "pastry", "menus", "sauces", "hygiene"),
        "food",
    ),
    Trade(
        "building",
        (("builder", "building houses"), ("plumber", "pipes"), ("electrician", "electrical work")),
        ("brickwork", "roofing", "plumbing", "wiring", "plaster", "tiling"),
        "electrical",
    ),
    Trade(
        "transport",
        (("driver", "driving"), ("courier", "delivering parcels"), ("loader", "warehouse work")),
        ("loading", "routes", "trucks", "customs", "vans", "packing"),
        "truck",
    ),
    Trade(
        "office",
        (("clerk", "office work"), ("accountant", "accounting"), ("buyer", "purchasing")),
        ("payroll", "invoices", "budgets", "filing", "audits", "taxes"),
        "audit",
    ),
    Trade(
        "software",
        (("programmer", "coding"), ("tester", "software testing"), ("analyst", "data analysis")),
        ("databases", "networks", "websites", "security", "servers", "statistics"),
        "clearance",
    ),
    Trade(
        "teaching",
        (("teacher", "teaching"), ("tutor", "private lessons"), ("trainer", "courses for adults")),
        ("maths", "reading", "music", "history", "sports", "chemistry"),
        "teaching",
    ),
    Trade(
        "garden",
        (("gardener", "gardening"), ("farmer", "farm work"), ("forester", "working in the woods")),
        ("pruning", "planting", "watering", "fences", "tractors", "harvest"),
        "spraying",
    ),
)
SKILLS = tuple(skill for field in FIELDS for skill in field.skills)
LEVELS = ("trainee", "junior", "experienced", "senior", "lead")
TITLES = ("Trainee ", "Junior ", "", "Senior ", "Lead ")
MODES = ("on site", "hybrid", "remote")
HOURS = ("day", "shift")
KINDS = ("hotel", "school", "bank", "charity", "factory")
SITES = ("here", "company site")
CITIES = {
    "north": ("Elmford", "Stonewick", "Harrowby"),
    "east": ("Reedham", "Saltmere", "Wynstead"),
    "south": ("Oakbourne", "Chalkley", "Downmere"),
    "west": ("Fernhill", "Brackwater", "Mossley"),
    "centre": ("Kingsmarsh", "Aldercote", "Tollgate"),
    "coast": ("Gullhaven", "Sandrock", "Pierton"),
}
_FIRST = ("Blue", "Bright", "Copper", "Green", "Quiet", "Silver")
_SECOND = ("anchor", "bell", "field", "lantern", "harbour")
# Thirty companies; the second half of the name says nothing about the kind.
COMPANIES = tuple(first + second for first in _FIRST for second in _SECOND)

OPENINGS = ("{title} at {company}, a {kind}.", "A {kind}, {company}, is looking for: {title}.")
DUTIES = ("The work: {skills}.", "You know about {skills}.", "What you will do: {skills}.")
PLACES = (
    "On site in {city}, {hours} work.",
    "Partly at home, partly in {city}; {hours} work.",
    "Fully remote, {hours} work.",
)
DEMAND = "{article} {licence} licence is needed."
