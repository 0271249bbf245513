"""TRL: GRPOTrainer(reward_funcs=vl_reward, ...), with the column "image" or "images" (PIL) where there are pictures.

The answers to one prompt stand side by side in a batch: they go out as one record, so that the server computes prompt and pictures once. An
answer that could not be scored gets None, which TRL leaves out.
"""

import base64
import io
import itertools
import json
import os
import urllib.request

SERVER = os.environ.get("VL_REWARD_SERVER", "http://127.0.0.1:8000")
HEADERS = {"content-type": "application/json", "authorization": "Bearer " + os.environ.get("VL_REWARD_KEY", "")}


def data_url(image):
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def text_of(completion):
    return completion if isinstance(completion, str) else completion[-1]["content"]


def messages_of(prompt):
    """Turns as JSON has them: TRL may have put the pictures into the parts already."""
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return [{**turn, "content": turn["content"] if isinstance(turn["content"], str) else list(map(part_of, turn["content"]))} for turn in turns]


def part_of(part):
    return {"type": "image", "image": data_url(part["image"])} if hasattr(part.get("image"), "save") else part


def row_of(prompt, images):
    messages = messages_of(prompt)
    has_pictures = any("image" in part for turn in messages if isinstance(turn["content"], list) for part in turn["content"])
    return messages, [] if has_pictures else [data_url(image) for image in images or []]


def vl_reward(prompts, completions, **columns):
    pictures = columns.get("images") or [[image] for image in columns.get("image", [])] or [[]] * len(prompts)
    rows = [row_of(prompt, images) for prompt, images in zip(prompts, pictures)]
    groups = [list(group) for _, group in itertools.groupby(range(len(rows)), key=lambda index: rows[index])]
    items = []
    for group in groups:
        messages, images = rows[group[0]]
        record = {"messages": messages, "responses": [text_of(completions[index]) for index in group]}
        items.append({**record, "images": images} if images else record)
    request = urllib.request.Request(SERVER + "/v1/rewards", json.dumps({"items": items}).encode(), HEADERS)
    with urllib.request.urlopen(request) as response:
        results = json.load(response)["data"]
    return [reward for group, result in zip(groups, results) for reward in result.get("scores", [None] * len(group))]
