"""DuckDB's side of `veritwin bench telemetry`: reads what to do from the file that is named, prints
what it measured as JSON. CPU seconds are those of this process and its threads."""

import json
import os
import resource
import sys
import time

import duckdb

with open(sys.argv[1], encoding="utf-8") as file:
    work = json.load(file)


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(question, rounds):
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        connection.execute(question).fetchall()
        times.append((time.perf_counter() - started) * 1000.0)
    return times


def at_share(times, percent):
    times = sorted(times)
    return times[min(len(times) * percent // 100, len(times) - 1)]


connection = duckdb.connect(work["database"])
columns = ", ".join(f"{key} DOUBLE" for key in work["keys"])
connection.execute(f"CREATE TABLE readings (at BIGINT, name VARCHAR, {columns})")
cpu, started = cpu_seconds(), time.perf_counter()
connection.execute("COPY readings FROM '{}' (HEADER false)".format(work["csv"].replace("'", "''")))
connection.execute("CHECKPOINT")
answer = {
    "version": duckdb.__version__,
    "ingest_cpu_s": cpu_seconds() - cpu,
    "ingest_s": time.perf_counter() - started,
    "bytes": os.path.getsize(work["database"]),
}
for question in work["day_reads"][: len(work["day_reads"]) // 5]:
    timed(question, 1)
reads = [timed(question, 1)[0] for question in work["day_reads"]]
answer["day_read_p50_ms"] = at_share(reads, 50)
answer["day_read_p99_ms"] = at_share(reads, 99)
answer["hourly_average_ms"] = at_share(timed(work["hourly_average"], work["rounds"]), 50)
answer["questions"] = [
    at_share(timed(question, work["rounds"]), 50) for question in work["questions"]
]
print(json.dumps(answer))
