"""DuckDB in the race: carries out the steps of a plan, its own clock around each statement, and
writes one JSON object a line."""

import datetime
import decimal
import json
import os
import statistics
import sys
import threading
import time

import duckdb

EPOCH = datetime.datetime(1970, 1, 1)
EPOCH_DAY = datetime.date(1970, 1, 1)
UPSERT = """ ON CONFLICT (agent_id, seq) DO UPDATE SET ts = excluded.ts, kind = excluded.kind,
    payload = excluded.payload"""
COLUMNS = "agent_id, seq, ts, kind, payload"

clock = time.perf_counter
plan = json.load(open(sys.argv[1]))
db = duckdb.connect(plan["database"])
lock = threading.Lock()


def emit(**line):
    with lock:
        print(json.dumps(line), flush=True)


def tell(work, case, unit, value, runs=None, answers=(), door="", note=""):
    emit(peer="duckdb", work=work, case=case, door=door, unit=unit, value=value,
         runs=[value] if runs is None else runs, answers=list(answers), note=note)


def remainder(value):
    """As Rust's % has it: the sign of the dividend."""
    return value % 1_000_003 if value >= 0 else -(-value % 1_000_003)


def answer(rows):
    whole, fraction = 0, 0.0
    for row in rows:
        for cell in row:
            if cell is None:
                continue
            if isinstance(cell, str):
                data = cell.encode()
                ends = data[0] + data[-1] if data else 0
                whole += 1_000 * len(data) + ends
            elif isinstance(cell, int):
                whole += remainder(int(cell))
            elif isinstance(cell, (float, decimal.Decimal)):
                fraction += float(cell)
            elif isinstance(cell, datetime.datetime):
                whole += remainder((cell - EPOCH) // datetime.timedelta(microseconds=1))
            elif isinstance(cell, datetime.date):
                whole += (cell - EPOCH_DAY).days
            else:
                raise TypeError(f"an answer has a {type(cell)}")
    return [len(rows), whole, fraction]


def size_mb():
    names = [plan["database"], plan["database"] + ".wal"]
    return sum(os.stat(name).st_blocks * 512 for name in names if os.path.exists(name)) / 1e6


def peak_mb():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6


def one(sql):
    return db.execute(sql).fetchone()[0]


def begin(step):
    try:
        open("/proc/self/clear_refs", "w").write("5")
    except OSError:
        pass


def end(step):
    tell(step["work"], "peak memory" + step["state"], "MB", peak_mb())


def nothing(step):
    pass


def load(step):
    before = size_mb()
    db.execute(step["create"])
    start = clock()
    db.execute(step["insert"])
    seconds = clock() - start
    if step["told"]:
        db.execute("CHECKPOINT")
        rows = one(f"SELECT count(*) FROM {step['table']}")
        tell("W1", step["table"], "rows/s", rows / seconds, answers=[[rows, 0, 0.0]])
        tell("W1", step["table"] + ", size", "MB", size_mb() - before)


def look_up(step):
    checked = [0, 0, 0.0]
    sql = step["sql"]
    for params in step["sets"][0][: plan["checked"]]:
        part = answer(db.execute(sql, params).fetchall())
        checked = [a + b for a, b in zip(checked, part)]
    runs = []
    for keys in step["sets"]:
        start, done = clock(), 0
        for params in keys[plan["checked"]:]:
            db.execute(sql, params).fetchall()
            done += 1
            if clock() - start > plan["patience_s"] / 3:
                break
        runs.append((clock() - start) * 1e6 / done)
    tell(step["work"], step["case"], "us", statistics.median(runs), runs, [checked])


def ask(step):
    runs, answers = [], []
    for text in step["texts"]:
        start = clock()
        rows = db.execute(text).fetchall()
        runs.append((clock() - start) * 1e3)
        answers.append(answer(rows))
    tell(step["work"], step["case"], "ms", statistics.median(runs), runs, answers)


def inserts(step):
    writers, rows = step["writers"], step["rows"]
    name = f"log_{writers}_{rows}"
    db.execute(plan["log"].replace("LOG", name))
    written = [0] * writers
    failed = []

    def write(number):
        connection = db.cursor()
        start, next_row = clock(), 0
        try:
            while clock() - start < plan["insert_s"]:
                if rows == 1:
                    connection.execute(
                        f"INSERT INTO {name} VALUES (?, ?, make_timestamp(?), ?, ?)",
                        [number, next_row, 1_700_000_000_000_000 + next_row, "reply",
                         f'{{"tool":"shell","cost":0.5,"trace":"{next_row:064x}"}}'])
                else:
                    connection.execute(
                        f"""INSERT INTO {name} SELECT {number}, {next_row} + range, make_timestamp(range),
                        'reply', '{{"tool":"shell","cost":0.5,"trace":"' || md5(range::text)
                        || md5((range + 1)::text) || '"}}' FROM range({rows})""")
                next_row += rows
                written[number] = next_row
        except Exception as error:  # told, not hidden
            failed.append(str(error))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    start = clock()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = clock() - start
    if failed:
        raise RuntimeError(failed[0])
    found = one(f"SELECT count(*) FROM {name}")
    if found != sum(written):
        raise RuntimeError(f"{sum(written)} rows were acknowledged, {found} are there")
    case = "1 writer" if writers == 1 else f"{writers} writers"
    case += ", 1 row a transaction" if rows == 1 else f", {rows} rows a transaction"
    tell("W2", case, "rows/s", found / seconds)


def upserts(step):
    """The sets in order. What a door cannot write in good time is written at once, untimed."""
    doors = [("1,000 a transaction", plan["chunk"]), ("10,000 a transaction", 10 * plan["chunk"])]
    count = 0
    results = []
    for number, path in enumerate(plan["sets"]):
        db.execute("DROP TABLE IF EXISTS upserts")
        db.execute(f"CREATE TEMP TABLE upserts AS SELECT *, row_number() OVER () AS n FROM read_parquet('{path}')")
        done = 0
        if step["told"] and number < len(doors):
            door, rows = doors[number]
            start = clock()
            while done < plan["upserts"] and clock() - start < plan["patience_s"]:
                db.execute(
                    f"""INSERT INTO events SELECT {COLUMNS} FROM upserts WHERE n > ? AND n <= ?
                    QUALIFY row_number() OVER (PARTITION BY agent_id, seq ORDER BY n DESC) = 1""" + UPSERT
                    if rows > plan["chunk"] else
                    f"INSERT INTO events SELECT {COLUMNS} FROM upserts WHERE n > ? AND n <= ?" + UPSERT,
                    [done, done + rows])
                done += rows
            results.append((door, min(done, plan["upserts"]) / (clock() - start), done))
        db.execute(
            f"""INSERT INTO events SELECT {COLUMNS} FROM upserts WHERE n > ?
            QUALIFY row_number() OVER (PARTITION BY agent_id, seq ORDER BY n DESC) = 1""" + UPSERT,
            [done])
    db.execute("DROP TABLE IF EXISTS upserts")
    count = one("SELECT count(*) FROM events")
    for door, rate, done in results:
        tell("W3", "upserts", "rows/s", rate, answers=[[count, 0, 0.0]], door=door,
             note=f"{done} rows, the rest at once and untimed")


def rewrite(step):
    db.execute(step["sql"])


def mixed(step):
    lasting = plan["mixed_s"]
    db.execute(f"CREATE OR REPLACE TEMP TABLE upserts AS SELECT *, row_number() OVER () AS n FROM read_parquet('{plan['sets'][0]}')")
    stop = threading.Event()

    def write(connection, seconds):
        start, done = clock(), 0
        while clock() - start < seconds and not stop.is_set():
            first = done % plan["upserts"]
            connection.execute(
                f"INSERT INTO events SELECT {COLUMNS} FROM upserts WHERE n > ? AND n <= ?" + UPSERT,
                [first, first + plan["chunk"]])
            done += plan["chunk"]
        return done / (clock() - start)

    def read(connection, seconds):
        start, times = clock(), []
        while clock() - start < seconds and not stop.is_set():
            asked = clock()
            rows = connection.execute(plan["group"]).fetchall()
            took = clock() - asked
            if len(rows) != 8:
                raise RuntimeError(f"there are 8 kinds, the reader found {len(rows)}")
            times.append(took * 1e3)
            time.sleep(max(0.0, 0.1 - took))
        return times

    alone = write(db, lasting / 4)
    calm = read(db, lasting / 4)
    busy = []
    reader = db.cursor()
    thread = threading.Thread(target=lambda: busy.extend(read(reader, lasting)))
    thread.start()
    # The temporary table is this connection's own.
    beside = write(db, lasting)
    stop.set()
    thread.join()
    tell("W7", "writer alone", "rows/s", alone)
    tell("W7", "writer beside a reader", "rows/s", beside)
    for case, times in [("reader alone", calm), ("reader beside a writer", busy)]:
        times.sort()
        tell("W7", case + ", p50", "ms", times[round((len(times) - 1) * 0.5)], times)
        tell("W7", case + ", p99", "ms", times[round((len(times) - 1) * 0.99)])


def reopen(step):
    global db
    opens, firsts, answers = [], [], []
    for _ in range(3):
        db.close()
        start = clock()
        db = duckdb.connect(plan["database"])
        opens.append((clock() - start) * 1e3)
        start = clock()
        rows = db.execute(plan["group"]).fetchall()
        firsts.append((clock() - start) * 1e3)
        answers.append(answer(rows))
    tell("W8", "open after W3", "ms", statistics.median(opens), opens)
    tell("W8", "first group-by", "ms", statistics.median(firsts), firsts, answers)


def delete(step):
    before = size_mb()
    start = clock()
    deleted = db.execute(plan["delete_half"]).fetchone()[0]
    tell("W8", "delete half of events", "ms", (clock() - start) * 1e3, answers=[[deleted, 0, 0.0]])
    left = one("SELECT count(*) FROM events")
    runs = []
    for _ in range(3):
        start = clock()
        db.execute(plan["group"]).fetchall()
        runs.append((clock() - start) * 1e3)
    tell("W8", "group-by after delete", "ms", statistics.median(runs), runs, [[left, 0, 0.0]])
    time.sleep(plan["patience_s"] / 2)
    tell("W8", "size before delete", "MB", before)
    tell("W8", "size a while after", "MB", size_mb())


emit(about={"version": duckdb.__version__, "enforces": "the key, by its ART index",
            "syncs": "every commit, to its log"})
for step in plan["steps"]:
    try:
        globals()[step["do"]](step)
    except Exception as error:  # one case that fails is told, the others go on
        emit(error=f"{step['do']} {step.get('case', step.get('table', ''))}: {error}",
             work=step.get("work", ""))
        if step["do"] in ("load", "upserts", "rewrite", "reopen"):
            break
db.close()
