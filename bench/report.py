"""What one benchmark found, as text and as JSON."""


def number(value):
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 100 else f"{value:.1f}"


class Report:
    def __init__(self, name, title):
        self.name = name
        self.title = title
        self.headings = []
        self.rows = []  # [text, value...]; a single text is a heading
        self.ratios = []  # {text, value}; a goal's: op, limit, verdict
        self.notes = []
        self.others = 0.0  # the largest share of the machine others used
        self.is_partial = False  # a peer is missing

    def columns(self, *headings):
        self.headings = headings

    def heading(self, text):
        self.rows.append([text])

    def row(self, name, *values):
        self.rows.append([name, *values])

    def ratio(self, text, value):
        self.ratios.append({"text": text, "value": value})

    def goal(self, text, value, op, limit):
        if value is None:
            verdict = "not measured" if self.is_partial else "FAILED"
        else:
            reached = value <= limit if op == "≤" else value >= limit
            verdict = "reached" if reached else "MISSED"
        self.ratios.append(
            {"text": text, "value": value, "op": op, "limit": limit, "verdict": verdict}
        )

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)

    def goals(self):
        return [ratio for ratio in self.ratios if "op" in ratio]

    def as_json(self):
        return {
            "name": self.name,
            "title": self.title,
            "columns": ["", *self.headings],
            "rows": self.rows,
            "ratios": self.ratios,
            "others": self.others,
            "notes": self.notes,
        }

    def table(self):
        if not self.rows:
            return []
        table = [["", *self.headings]]
        table += [[row[0], *map(number, row[1:])] for row in self.rows]
        full = [row for row in table if len(row) > 1]
        widths = [max(map(len, column)) for column in zip(*full)]
        lines = []
        for name, *values in table:
            cells = [value.rjust(width) for value, width in zip(values, widths[1:])]
            lines.append("  ".join(["", name.ljust(widths[0]), *cells]))
        return lines

    def as_text(self):
        lines = [f"{self.name}: {self.title}"]
        lines += self.table()
        for ratio in self.ratios:
            line = f"  {ratio['text']}: {number(ratio['value'])}"
            if "op" in ratio:
                limit = f"{ratio['limit']:,}"
                line += f"   goal {ratio['op']} {limit}   {ratio['verdict']}"
            lines.append(line)
        if self.others > 0.05:
            self.note(
                f"others used up to {self.others:.0%} of this machine meanwhile: "
                "repeat it on a quiet one"
            )
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines) + "\n"
