"""Models that hold tensors wrongly, each in a way of its own: what to look for edits in."""

from __future__ import annotations

HEADER = "import dataclasses, functools, torch\nfrom torch import nn\nfrom torch import distributions as D\n"

WRONG = {
    "computed from a Parameter": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = nn.Parameter(torch.ones(3)).to(torch.float64)
    """,
    "alias of a buffer that is replaced later": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("inv_freq", torch.ones(3))
                self.original = self.inv_freq

            def update(self, x):
                self.register_buffer("inv_freq", x)
    """,
    "attribute": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.pe = torch.ones(3)
    """,
    "attribute in the branch beside a parameter": """
        class Model(nn.Module):
            def __init__(self, learned=False):
                super().__init__()
                if learned:
                    self.bias = nn.Parameter(torch.ones(3))
                else:
                    self.bias = torch.zeros(3)
    """,
    "attribute from a tuple": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                pe, other = torch.ones(2, 3)
                self.pe, self.other = pe, 1
    """,
    "cache": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.pe = None
            def forward(self, x):
                self.pe = x * torch.ones(3)
        def make():
            model = Model()
            model(torch.ones(1))
            return model
    """,
    "state that forward updates": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.mean = torch.zeros(3)
            def forward(self, x):
                self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
    """,
    "states that forward updates": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.states = [torch.zeros(3), torch.ones(3)]
            def forward(self, x):
                self.states = [0.9 * state + x for state in self.states]
    """,
    "list of modules": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.blocks = [nn.Linear(2, 2) for _ in range(2)]
    """,
    "appended modules": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = []
                for i in range(2):
                    self.layers.append(nn.Linear(2, 2))
    """,
    "dict of modules": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.heads = {"a.b": nn.Linear(2, 2)}
    """,
    "dict of modules by number": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.heads = {1: nn.Linear(2, 2)}
    """,
    "tuple of parameters": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.ws = (nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3)))
    """,
    "leaf that requires grad": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.w = torch.ones(2, requires_grad=True)
    """,
    "list of tensors": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.masks = [torch.ones(2), torch.ones(3)]
    """,
    "dict of tensors": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.masks = {"a.b": torch.ones(2)}
    """,
    "helper object": """
        class Helper:
            def __init__(self):
                if isinstance(self, nn.Module):
                    super().__init__()
                    self.register_buffer("t", torch.ones(2), persistent=False)
                else:
                    self.t = torch.ones(2)
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.helper = Helper()
    """,
    "class attribute": """
        class Model(nn.Module):
            table = torch.ones(3)
            def __init__(self):
                super().__init__()
    """,
    "global": """
        TABLE = torch.ones(3)
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
            def forward(self, x):
                return x * TABLE
    """,
    "class named by forward": """
        class Tables:
            Scale = torch.ones(3)
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
            def forward(self, x):
                return x * Tables.Scale
    """,
    "list in a class named by forward": """
        class Tables:
            scales = [torch.ones(3), torch.ones(4)]
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
            def forward(self, x):
                return x * Tables.scales[0]
    """,
    "global object": """
        from types import SimpleNamespace
        TABLES = SimpleNamespace(scale=torch.ones(3))
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
            def forward(self, x):
                return x * TABLES.scale
    """,
    "module in a global object": """
        from types import SimpleNamespace
        TABLES = SimpleNamespace(net=nn.Linear(2, 2))
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
            def forward(self, x):
                return TABLES.net(x)
    """,
    "default argument": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
            def forward(self, x, scale=torch.ones(3)): pass
    """,
    "alias": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("pe", torch.ones(3))
                self.alias = self.pe
    """,
    "alias of a buffer that construction fills and that changes in place": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("pe", None)
                self.pe = torch.ones(3)
                self.alias = self.pe

            def update(self, x):
                self.pe += x
    """,
    "view by a local name": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                pe = torch.ones(3)
                self.register_buffer("pe", pe)
                self.first = pe[:2]
    """,
    "list of buffers": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("a", torch.ones(3))
                self.both = [self.a, self.a[:1]]
    """,
    "trainable buffer": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("w", torch.ones(3, requires_grad=True))
    """,
    "computed buffer": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.lin = nn.Linear(2, 2)
                self.register_buffer("w", self.lin.weight * 2)
    """,
    "Parameter handed to register_buffer": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("w", nn.Parameter(torch.ones(3)))
    """,
    "frozen Parameter handed to register_buffer": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                w = nn.Parameter(torch.ones(3), requires_grad=False)
                self.register_buffer("w", w, persistent=False)
    """,
    "name that torch has": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.half = torch.ones(3)
    """,
    "hidden by __dict__": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("w", torch.ones(3))
                self.__dict__["w"] = torch.zeros(3)
    """,
    "hidden by the class": """
        class Model(nn.Module):
            w = 1.0
            def __init__(self):
                super().__init__()
                self._buffers["w"] = torch.ones(3)
    """,
    "module hidden by the class": """
        class Model(nn.Module):
            net = None
            def __init__(self):
                super().__init__()
                self.net = nn.Linear(2, 2)
    """,
    "module hidden by __dict__": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = nn.Linear(2, 2)
                self.__dict__["net"] = nn.Linear(2, 2)
    """,
    "distribution": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.d = D.Normal(torch.zeros(3), torch.ones(3))
    """,
    "dataclass": """
        @dataclasses.dataclass
        class Held:
            table: torch.Tensor
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.held = Held(torch.zeros(3))
    """,
    "list in a dict": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.held = {"a": [torch.zeros(3)]}
    """,
    "appended tensors": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.tables = []
                for i in range(2):
                    self.tables.append(torch.zeros(3))
    """,
    "dict filled in a loop": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.tables = {}
                for key in ("a.b", "c"):
                    self.tables[key] = torch.zeros(3)
    """,
    "distribution of a class": """
        class Model(nn.Module):
            prior = D.Normal(torch.zeros(3), torch.ones(3))
            def __init__(self):
                super().__init__()
    """,
    "modules of a literal on several lines": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.heads = {
                    "a": nn.Linear(2, 2)}
    """,
    "None first": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.cos = None
                n = 3
                self.cos = torch.ones(n)
    """,
    "None first, then set by a method": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.cos = None
                self.build()
            def build(self):
                self.cos = torch.ones(3)
    """,
    "None first, then set by forward": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.cos = None
                self(torch.ones(3))
            def forward(self, x):
                self.cos = torch.ones_like(x)
    """,
    "before super().__init__()": """
        class Model(nn.Module):
            def __init__(self):
                self.table = torch.zeros(3)
                super().__init__()
    """,
    "before nn.Module.__init__(self)": """
        class Model(nn.Module):
            def __init__(self):
                self.table = torch.zeros(3)
                nn.Module.__init__(self)
    """,
    "a local name beside it": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.pe = pe = torch.zeros(3)
                pe[0] = 1
    """,
    "another attribute beside it": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = self.b = torch.zeros(3)
    """,
    "unpacked": """
        def tables(n): return torch.zeros(n), torch.ones(n)
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.sin, self.cos = tables(3)
    """,
    "unpacked in parts": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                (self.a, (self.b, self.n)), d = (torch.zeros(2), (torch.ones(2), 3)), 4
    """,
    "unpacked beside something else": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.n, self.pe = 3, torch.zeros(3)
    """,
    "None first, then filled by forward, which construction calls": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.mask = None
                self.forward(torch.ones(3))
            def forward(self, x):
                if self.mask is None:
                    self.mask = torch.ones_like(x)
                return x * self.mask
    """,
    "default argument of a lambda, named like a parameter": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.w = nn.Parameter(torch.ones(3))
                w = torch.ones(3)
                self.act = lambda x, w=torch.ones(3): x * w
    """,
    "parameters under keys with and without a dot": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.ws = {"a.b": nn.Parameter(torch.ones(3)), "c": nn.Parameter(torch.ones(3))}
    """,
    "tensors under keys with and without a dot": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.ws = {"c": torch.ones(3), "a.b": torch.ones(3), 1: torch.ones(3), 0.5: torch.ones(3)}
    """,
    "cached property": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.pe
            @functools.cached_property
            def pe(self): return torch.zeros(3)
    """,
    "two names that register_buffer refuses": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("d_loc", torch.ones(3))
                self.d = D.Normal(torch.zeros(3), 1.0)
    """,
}
