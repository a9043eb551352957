"""Statements by which DuckDB lays two runs side by side: pairs, places, one row a request.

They take the tables ``earlier`` and ``later`` and make ``pairs``, ``common`` and ``by_request``.
"""

OVERLAP = 10
"""Of so many first candidates it is told how many stay."""

PAIRS = """
CREATE TABLE pairs AS
SELECT request_id, candidate_id, coalesce(l.part, e.part) AS part,
  e.score AS earlier, l.score AS later, e.place AS earlier_place, l.place AS later_place,
  abs(e.score - l.score) AS apart
FROM earlier e FULL JOIN later l USING (request_id, candidate_id)
"""
# Places among the candidates that both rank: one that is gone moves nobody.
COMMON = """
CREATE TABLE common AS
SELECT request_id, candidate_id, earlier, later,
  row_number() OVER (PARTITION BY request_id ORDER BY earlier_place, candidate_id) AS was,
  row_number() OVER (PARTITION BY request_id ORDER BY later_place, candidate_id) AS "is"
FROM pairs WHERE earlier_place IS NOT NULL AND later_place IS NOT NULL
"""
# A struct is never null, where `arg_min` would pass over a first candidate without a score.
BY_REQUEST = f"""
CREATE TABLE by_request AS
WITH moved AS (
  SELECT a.request_id, true AS moved FROM common a
  JOIN common b ON a.request_id = b.request_id AND a.was = b."is"
  WHERE a.candidate_id <> b.candidate_id AND abs(a.earlier - b.earlier) > $tolerance
  GROUP BY a.request_id
), correlated AS (
  SELECT request_id, corr(was, "is") AS correlation FROM common
  GROUP BY request_id HAVING count(*) > 1
), kept AS (
  SELECT request_id,
    count(*) FILTER (earlier_place <= {OVERLAP} AND later_place <= {OVERLAP}) / {OVERLAP} AS overlap
  FROM pairs GROUP BY request_id
  HAVING count(earlier_place) > {OVERLAP} AND count(later_place) > {OVERLAP}
), whole AS (
  SELECT request_id, min(part) AS part,
    count(earlier) AS had, count(later) AS have, count(apart) AS "both",
    max(apart) AS largest, sum(apart) AS total, count(*) FILTER (apart > $tolerance) AS beyond,
    arg_min({{'id': candidate_id, 'score': earlier}}, earlier_place) AS was,
    arg_min({{'id': candidate_id, 'score': earlier}}, later_place) AS "is",
    coalesce(bool_or((earlier_place IS NULL) <> (later_place IS NULL))
      FILTER (apart IS NOT NULL), false) AS taken
  FROM pairs GROUP BY request_id
)
SELECT request_id, part, had, have, "both", largest, total, beyond, correlation, overlap,
  had > 0 AND have > 0 AS met,
  met AND (taken OR coalesce(moved, false)) AS "order",
  met AND was.id IS DISTINCT FROM "is".id
    AND coalesce(abs(was.score - "is".score) > $tolerance, true) AS top
FROM whole LEFT JOIN moved USING (request_id) LEFT JOIN correlated USING (request_id)
LEFT JOIN kept USING (request_id)
"""
SUMS = """
count(*) FILTER (met), coalesce(sum("both"), 0)::BIGINT, coalesce(sum(total), 0),
coalesce(max(largest), 0), coalesce(sum(beyond), 0)::BIGINT, count(*) FILTER (top),
count(*) FILTER ("order")
"""
