# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Every command of the client against a server on the shipped models."""

from __future__ import annotations

import json
import random
import re
import unittest
from pathlib import Path

import piece_hash
from serving import SHIPPED, SOURCE, Server, bits_of, run_client, temporary_folder

DIGITS = SOURCE / "models" / "data" / "digits" / "test.csv"


def digit_rows(count: int) -> tuple[list[int], str]:
    """Labels of the first test images, and the images as the client reads them."""
    labels, blocks = [], []
    for line in DIGITS.read_text(encoding="utf-8").splitlines()[:count]:
        label, *pixels = line.split(",")
        labels.append(int(label))
        blocks.append("\n".join(",".join(pixels[8 * r : 8 * r + 8]) for r in range(8)))
    return labels, "\n\n".join(blocks) + "\n"


class Commands(unittest.TestCase):
    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server(SHIPPED)
        cls.addClassCleanup(cls.server.stop)

    def test_models(self) -> None:
        text = self.server.client("models")
        for name in ("cubic", "g2p", "digits", "words"):
            self.assertRegex(text, rf"(?m)^{name} +1 +\w+ +EXACT +\d+ ")
        self.assertIn("degree bound", self.server.client("models", "g2p"))
        listed = json.loads(self.server.client("models", "--json"))["models"]
        self.assertEqual(sorted(model["name"] for model in listed), ["cubic", "digits", "g2p", "words"])

    def test_encode_digits_with_piece_table(self) -> None:
        labels, rows = digit_rows(5)
        text = self.server.client("encode", "digits", "--vectors", "-", "--pieces", text=rows)
        classes = [int(found) for found in re.findall(r"class +output +next\n +(\d+) ", text)]
        self.assertEqual(classes, labels)
        header = "token  piece                             layer  self-attention  feed-forward"
        self.assertEqual(text.count(header), 5)
        self.assertRegex(text, r"\n +0  [0-9a-f]{32} +0 +\d \d \d \d of 8 +\d+ of 96\n")
        self.assertIn("The token's output also depends on other tokens' gates", text)
        # Columns are aligned: every line of a table ends its "of 96" where the title ends.
        table = text[text.index(header) - 2 :].splitlines()[:17]
        self.assertEqual({len(line) for line in table}, {len(table[0])})

    def test_filters_and_margins(self) -> None:
        text = self.server.client(
            "encode", "g2p", "--text", "cat", "--pieces", "counts", "--layers", "1,2", "--sites", "self", "--margins")
        self.assertNotIn("feed-forward", text)
        self.assertIn("margin", text)
        self.assertEqual(len(re.findall(r"of 3 +[0-9.e-]+\n", text)), 6)

    def test_decode(self) -> None:
        text = self.server.client("decode", "words", "--target-text", "spline", "--pieces", "counts")
        self.assertIn('0: "spline" -> head [6, 30]', text)
        text = self.server.client("decode", "g2p", "--source-text", "cat", "--target-tokens", "1,22", "--pieces")
        self.assertIn("cross-attention", text)
        both = self.server.client("decode", "g2p", "--source-text", "cat", "--target-tokens", "1,22", "--full")
        self.assertNotIn("…", both)

    def test_generate_lines_in_order(self) -> None:
        words = [line.split("\t")[0] for line in (SOURCE / "models/data/g2p/valid.tsv").read_text().splitlines()[:200]]
        with temporary_folder() as folder:
            path = Path(folder) / "words.txt"
            path.write_text("".join(word + "\n" for word in words))
            lines = self.server.client("generate", "g2p", "--input", str(path), "--tsv").splitlines()
        self.assertEqual([line.split("\t")[0] for line in lines], words)
        self.assertGreater(sum(bool(re.fullmatch(r"[^\t]+\t[A-Z]+( [A-Z]+)*", line)) for line in lines), 190)
        # One at a time gives the same as all together.
        alone = [self.server.client("generate", "g2p", "--text", word) for word in words[:5]]
        self.assertEqual([line.strip() for line in alone], [line.split("\t")[1] for line in lines[:5]])

    def test_generate_reports_failing_lines(self) -> None:
        done = run_client("generate", "g2p", "--input", "-", "--server", self.server.address, text="cat\nc4t\ndog\n")
        self.assertEqual(done.returncode, 1)
        lines = done.stdout.split("\n")
        self.assertEqual(len(lines), 4)
        self.assertTrue(lines[0] and not lines[1] and lines[2])
        self.assertRegex(done.stderr, r"^line 2: INVALID_ARGUMENT: .*\n1 of 3 lines failed\n$")

    def test_generate_strategies(self) -> None:
        greedy = self.server.client("generate", "g2p", "--text", "spline")
        self.assertEqual(self.server.client("generate", "g2p", "--text", "spline", "--stream"), greedy)
        beams = self.server.client("generate", "g2p", "--text", "spline", "--beam", "4", "--hypotheses", "3")
        self.assertEqual(len(beams.rstrip("\n").split("\t")), 3)
        samples = self.server.client("generate", "words", "--sample", "--count", "8", "--seed", "5", "--temperature", "0.8")
        self.assertEqual(len(samples.splitlines()), 8)
        again = self.server.client("generate", "words", "--sample", "--count", "2", "--seed", "6", "--temperature", "0.8")
        self.assertEqual(again.splitlines(), samples.splitlines()[1:3])
        short = self.server.client("generate", "words", "--text", "s", "--max-new-tokens", "2")
        self.assertLessEqual(len(short.strip()), 2)

    def test_generate_pieces(self) -> None:
        text = self.server.client("generate", "g2p", "--text", "cat", "--pieces")
        self.assertRegex(text, r"\n +0  -> K +[0-9a-f]{32} ")
        self.assertIn("cross-attention", text)

    def test_call(self) -> None:
        info = self.server.call("splineserve.v1.ModelService/GetModel", {"model": {"name": "digits"}})["model"]
        self.assertEqual(info["spline_class"], "EXACT")
        self.assertEqual(self.server.call("Health/Check", {})["status"], "SERVING")
        request = {"model": {"name": "g2p"}, "source": {"text": "cat"}}
        lines = self.server.client("call", "InferenceService/Generate", text=json.dumps(request)).splitlines()
        events = [json.loads(line) for line in lines]
        tokens = [event["token"]["text"] for event in events if "token" in event]
        self.assertEqual(" ".join(tokens), events[-1]["result"]["hypotheses"][0]["text"])

    def test_call_explains_unknown_fields(self) -> None:
        done = run_client("call", "Encode", "--server", self.server.address, text='{"input": []}')
        self.assertEqual(done.returncode, 2)
        self.assertIn('unknown field "input" in the request', done.stderr)
        self.assertIn('Did you mean "inputs"?', done.stderr)

    def test_bench(self) -> None:
        report = json.loads(self.server.client(
            "bench", "generate", "g2p", "--text", "cat", "--text", "dog", "--requests", "20", "--concurrency", "4", "--json"))
        self.assertEqual((report["requests"], report["failed"]), (20, 0))
        self.assertGreater(report["tokens_per_second"], 0)
        self.assertIn("server: compute", self.server.client("bench", "encode", "g2p", "--text", "cat", "--requests", "3"))

    def test_ids_are_those_of_the_bits(self) -> None:
        pieces = {"detail": "BITS"}
        g2p = {"model": {"name": "g2p"}, "pieces": pieces}
        answers = [
            self.server.call("Encode", {**g2p, "inputs": [{"text": "spline"}, {"text": "a"}]}),
            self.server.call("Decode", {**g2p, "sources": [{"text": "spline"}], "targets": [{"tokens": {"ids": [1, 31, 29]}}]}),
            self.server.call("Decode", {"model": {"name": "words"}, "pieces": pieces, "targets": [{"text": "spline"}]}),
        ]
        for result in [result for answer in answers for result in answer["results"]]:
            self.assertTrue(result["pieces"])
            for piece in result["pieces"]:
                self.assertEqual(bits_of(piece["id"]), piece_hash.piece_id(piece))
                for group in (group for layer in piece["layers"] for group in layer["groups"]):
                    self.assertEqual(group["open"], piece_hash.open_bits(group))
                    self.assertEqual(len(bits_of(group["bits"])), (group["width"] + 7) // 8)
            self.assertEqual(bits_of(result["sequence_id"]), piece_hash.sequence_id(result["pieces"]))

    def test_generated_pieces_are_those_of_decode(self) -> None:
        pieces = {"detail": "BITS"}
        stream = self.server.client("call", "Generate", text=json.dumps(
            {"model": {"name": "g2p"}, "source": {"text": "spline"}, "pieces": pieces}))
        events = [json.loads(line) for line in stream.splitlines()]
        tokens = [event["token"] for event in events if "token" in event]
        best = events[-1]["result"]["hypotheses"][0]
        self.assertEqual(best["finish_reason"], "END_OF_SEQUENCE")
        target = [1] + [token["id"] for token in tokens]
        answer = self.server.call("Decode", {
            "model": {"name": "g2p"}, "pieces": pieces, "sources": [{"text": "spline"}],
            "targets": [{"tokens": {"ids": target}}]})
        expected = answer["results"][0]
        self.assertEqual([token["piece"] for token in tokens] + [best["end_piece"]], expected["pieces"])
        self.assertEqual(best["sequence_id"], expected["sequence_id"])

    def test_monitor_of_our_own(self) -> None:
        rows = [block for block in digit_rows(30)[1].strip().split("\n\n")]
        images = ["\n\n".join(part) + "\n" for part in (rows[:20], rows[10:])]
        with temporary_folder() as folder:
            path = Path(folder) / "last.monitor"
            text = self.server.client(
                "monitor", "record", "digits", "--vectors", "-", "--layers", "1", "--sites", "ffn", "--gamma", "40", "--out", str(path),
                text=images[0])
            self.assertIn("20 sequences were new, 0 known, 0 left out", text)
            again = self.server.client(
                "monitor", "record", "digits", "--vectors", "-", "--extend", str(path), "--out", str(path), text=images[0])
            self.assertIn("0 sequences were new, 20 known", again)
            with Server(SHIPPED, "--monitor", str(path)) as server:
                answer = json.loads(server.client(
                    "monitor", "check", "digits", "--vectors", "-", "--name", "last", "--json", text=images[1]))["results"]
                named = [line.split()[0] for line in server.client("monitor", "list").splitlines()[1:]]
                self.assertEqual(named, ["last", "reference"])

        # The same by hand: Encode's bits, compared gate by gate.
        def encoded(block: list[str]) -> list[tuple[int, str]]:
            inputs = [{"vectors": {"rows": 8, "cols": 8, "values": [float(x) for x in b.replace("\n", ",").split(",")]}} for b in block]
            pieces = {"detail": "BITS", "layers": [1], "sites": ["FEED_FORWARD"]}
            results = self.server.call("Encode", {"model": {"name": "digits"}, "inputs": inputs, "pieces": pieces})["results"]
            return [(r["output"]["values"].index(max(r["output"]["values"])),
                     "".join(f"{byte:08b}" for p in r["pieces"] for g in p["layers"][0]["groups"] for byte in bits_of(g["bits"])))
                    for r in results]

        recorded = encoded(rows[:20])
        for result, (label, gates) in zip(answer, encoded(rows[10:]), strict=True):
            verdict = result["monitor"]
            self.assertEqual((verdict["label"], verdict["gates"]), (label, 768))
            distances = [sum(a != b for a, b in zip(gates, other)) for known, other in recorded if known == label]
            self.assertEqual(verdict.get("own", {}).get("distance"), min(distances, default=None))
            self.assertEqual(verdict["accepted"], min(distances, default=1000) <= 40)
            self.assertEqual(verdict["known"], 0 in distances)

    def test_shipped_monitor_of_digits(self) -> None:
        text = self.server.client("monitor", "check", "digits", "--vectors", "-", text=digit_rows(360)[1])
        self.assertGreater(int(re.search(r"(\d+) of 360 accepted by monitor reference", text).group(1)), 324)
        draw = random.Random(1)
        noise = "\n\n".join("\n".join(",".join(str(draw.randint(0, 16)) for _ in range(8)) for _ in range(8)) for _ in range(100))
        text = self.server.client("monitor", "check", "digits", "--vectors", "-", text=noise + "\n")
        self.assertLess(int(re.search(r"(\d+) of 100 accepted by monitor reference", text).group(1)), 5)
    def test_evaluate_on_piece(self) -> None:
        for arguments in (
            ("g2p", "--text", "spline"), ("words", "--text", "spline"), ("g2p", "--text", "cat", "--target-tokens", "1,22,5"),
        ):
            answer = json.loads(self.server.client("evaluate-on-piece", *arguments, "--verify", "--json"))
            self.assertTrue(answer["verification"]["equal"], arguments)
            self.assertTrue(answer["polynomial"])
        text = self.server.client("evaluate-on-piece", "g2p", "--text", "cat", "--gates-text", "cut", "--verify")
        self.assertRegex(text, r"encoder piece [0-9a-f]{32}: [1-9]\d* of 7824 gates have an argument of the other sign")
        self.assertIn("The input lies beyond the piece", text)
        with temporary_folder() as folder:
            path = Path(folder) / "cut.json"
            path.write_text(self.server.client("encode", "g2p", "--text", "cut", "--pieces", "bits", "--json"))
            given = self.server.client("evaluate-on-piece", "g2p", "--text", "cat", "--encoder-pieces", str(path), "--verify")
        without_times = [re.sub("with .* ->|server: .*", "", answer) for answer in (text, given)]
        self.assertEqual(without_times[0], without_times[1])

    def test_compare(self) -> None:
        words = ["cat", "cut", "cats", "cat"]
        answer = json.loads(self.server.client("compare", "g2p", *(f"--text={word}" for word in words), "--json"))
        stack = answer["stacks"][0]
        self.assertEqual(stack["same_as"], [0, 1, 2, 0])
        # Counted once more from the bits that Encode returns.
        encoded = self.server.call("Encode", {
            "model": {"name": "g2p"}, "inputs": [{"text": word} for word in words], "pieces": {"detail": "BITS"}})
        pieces = [result["pieces"] for result in encoded["results"]]
        self.assertEqual(stack["sequence_ids"], [result["sequence_id"] for result in encoded["results"]])
        for a, b in ((0, 1), (0, 3), (1, 3)):
            differing = sum(
                (x ^ y).bit_count()
                for one, other in zip(pieces[a], pieces[b])
                for layer, other_layer in zip(one["layers"], other["layers"])
                for group, other_group in zip(layer["groups"], other_layer["groups"])
                for x, y in zip(bits_of(group["bits"]), bits_of(other_group["bits"])))
            self.assertEqual(int(stack["differing"][4 * a + b]), differing)

    def test_bad_usage_and_failed_calls(self) -> None:
        for arguments in (["encode"], ["encode", "g2p"], ["nonsense"], ["models", "--server", "x"], ["bench", "g2p"]):
            done = run_client(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
        done = run_client("models", "absent", SPLINESERVE_SERVER=self.server.address)
        self.assertEqual(done.returncode, 1)
        self.assertIn("NOT_FOUND", done.stderr)
        done = run_client("models", "--server", "127.0.0.1:1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("No SplineServe server answers at 127.0.0.1:1", done.stderr)


if __name__ == "__main__":
    unittest.main()
