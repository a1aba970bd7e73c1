"""JupyterLab opens with the guided transfer."""

c = get_config()  # noqa: F821
c.LabApp.default_url = "/lab/tree/notebooks/guided-transfer.ipynb"
