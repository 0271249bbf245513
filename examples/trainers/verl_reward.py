"""verl: custom_reward_function.path=examples/trainers/verl_reward.py custom_reward_function.name=compute_score

verl gives a reward function neither prompt nor picture: preprocessing puts them into extra_info, "question" as a text and "images" as
paths, data URLs or names of registered pictures. A failure raises: a reward of 0 would be learned from.
"""

import asyncio
import base64
import json
import os
import urllib.request

SERVER = os.environ.get("VL_REWARD_SERVER", "http://127.0.0.1:8000")
HEADERS = {"content-type": "application/json", "authorization": "Bearer " + os.environ.get("VL_REWARD_KEY", "")}


def picture(image):
    if not os.path.exists(image):
        return image  # a data URL, or media:sha256:...
    with open(image, "rb") as file:
        return "data:image/*;base64," + base64.b64encode(file.read()).decode()


def reward(question, images, answer):
    parts = [{"type": "image", "image": picture(image)} for image in images] + [{"type": "text", "text": question}]
    record = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": answer}]}
    request = urllib.request.Request(SERVER + "/v1/rewards", json.dumps({"items": [record]}).encode(), HEADERS)
    with urllib.request.urlopen(request) as response:
        [result] = json.load(response)["data"]
    if "error" in result:
        raise RuntimeError(result["error"]["message"])
    return result["score"]


async def compute_score(data_source, solution_str, ground_truth, extra_info, **kwargs):
    images = extra_info.get("images", [])
    return await asyncio.to_thread(reward, extra_info["question"], images, solution_str)
