from taskchaos.suites.subjects.controls.mini_queue import MiniQueue
from taskchaos.harness.contract import Claim
class Plain(MiniQueue):
    name = "plain"
    contract = MiniQueue.contract.claiming(Claim.EXCLUSIVE, Claim.FENCED)
